//! Where a model is: the base URL of a region, and the model id as one path segment.
//!
//! Invariant: an id is percent-encoded exactly once, everything but unreserved characters, so that
//! `:` and `/` of an ARN stay inside their segment; an id that could change the path is refused.

use std::sync::Arc;

use outcrop_wire::Inexpressible;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::{BedrockSpec, BuildError};

/// RFC 3986 unreserved characters stay as they are.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Longest model id (AWS model `ConversationalModelId`).
const MODEL_ID_BYTES_MAX: usize = 2048;

impl BedrockSpec {
    /// The base URL: the operator's, or the region's own.
    pub(crate) fn url(&self, path: &Arc<str>) -> Result<Url, BuildError> {
        if let Some(endpoint) = &self.endpoint {
            return Ok(endpoint.clone());
        }
        let suffix = match self.region.split('-').next() {
            Some("cn") => "amazonaws.com.cn",
            Some("eusc") => "amazonaws.eu",
            _ => "amazonaws.com",
        };
        let text = format!("https://bedrock-runtime.{}.{suffix}", self.region);
        let proper = !self.region.is_empty()
            && self.region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        match text.parse() {
            Ok(url) if proper => Ok(url),
            _ => Err(BuildError::Url {
                path: Arc::clone(path),
                url: text,
                problem: "does not come from a valid region name",
            }),
        }
    }
}

/// The id as one path segment.
pub(crate) fn encode(model_id: &str) -> Result<String, Inexpressible> {
    let refuse = |problem: &str| {
        Err(Inexpressible(format!(
            "The model id {problem}; use an id, a profile id or an ARN of Amazon Bedrock."
        )))
    };
    if model_id.is_empty() {
        return refuse("is empty");
    }
    if model_id.len() > MODEL_ID_BYTES_MAX {
        return refuse("is longer than 2048 bytes");
    }
    let odd = |b: u8| !b.is_ascii_graphic() || matches!(b, b'%' | b'?' | b'#' | b'\\');
    if model_id.bytes().any(odd) {
        return refuse("contains characters that no model id has");
    }
    if model_id.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return refuse("contains an empty or relative path segment");
    }
    Ok(utf8_percent_encode(model_id, SEGMENT).to_string())
}

/// Whether the id names an Anthropic model: `anthropic.…` behind an ARN and a profile prefix.
pub(crate) fn is_anthropic(model_id: &str) -> bool {
    family(model_id).0 == "anthropic"
}

/// Whether the id names a model whose invoke bodies for embeddings are known: Titan and Cohere.
pub(crate) fn makes_embeddings(model_id: &str) -> bool {
    match family(model_id) {
        ("amazon", model) => model.starts_with("titan-embed"),
        ("cohere", model) => model.starts_with("embed"),
        _ => false,
    }
}

/// The id of the model itself, without ARN and profile prefix; `None` where the id does not name it.
pub(crate) fn foundation(model_id: &str) -> Option<String> {
    let (provider, model) = family(model_id);
    (!provider.is_empty()).then(|| format!("{provider}.{model}"))
}

/// Provider and model of an id, without ARN and without the profile prefix (`eu.`, `global.`, …).
fn family(model_id: &str) -> (&str, &str) {
    let id = model_id.rsplit('/').next().unwrap_or(model_id);
    let Some((first, rest)) = id.split_once('.') else { return ("", id) };
    match rest.split_once('.') {
        // `eu.anthropic.claude-…`; a version such as `cohere.embed-v4.1` has no provider behind it.
        Some((second, model)) if second.bytes().all(|b| b.is_ascii_alphabetic()) => (second, model),
        _ => (first, rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_arns_are_one_segment_encoded_once() {
        let check = |id: &str, expected: &str| assert_eq!(encode(id).unwrap(), expected);
        check("amazon.nova-lite-v1:0", "amazon.nova-lite-v1%3A0");
        check("eu.anthropic.claude_x~y", "eu.anthropic.claude_x~y");
        check(
            "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/ab12",
            "arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3Aapplication-inference-profile%2Fab12",
        );
    }

    #[test]
    fn ids_that_could_change_the_path_are_refused() {
        let long = "a".repeat(2049);
        for bad in [
            "",
            ".",
            "..",
            "a/../b",
            "../x",
            "a//b",
            "/a",
            "a/",
            "a%2fb",
            "%252f",
            "a?b",
            "a#b",
            "a\\b",
            "a b",
            "a\r\nb",
            "a\0b",
            "ä",
            long.as_str(),
        ] {
            assert!(encode(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn families_are_read_behind_prefixes_and_arns() {
        for id in [
            "anthropic.claude-3-haiku-20240307-v1:0",
            "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "arn:aws:bedrock:eu-west-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0",
            "arn:aws:bedrock:eu-west-1:1:inference-profile/global.anthropic.claude-x",
        ] {
            assert!(is_anthropic(id), "{id}");
        }
        for id in ["amazon.nova-lite-v1:0", "eu.amazon.nova-lite-v1:0", "anthropic", "x/opaque"] {
            assert!(!is_anthropic(id), "{id}");
        }
        for id in ["amazon.titan-embed-text-v2:0", "cohere.embed-multilingual-v3", "eu.cohere.embed-v4:0"] {
            assert!(makes_embeddings(id), "{id}");
        }
        assert!(!makes_embeddings("amazon.nova-lite-v1:0"));
    }

    #[test]
    fn the_model_itself_is_named_without_its_profile() {
        for (id, expected) in [
            ("amazon.nova-lite-v1:0", Some("amazon.nova-lite-v1:0")),
            ("eu.anthropic.claude-x-v1:0", Some("anthropic.claude-x-v1:0")),
            (
                "arn:aws:bedrock:eu-west-1:1:inference-profile/global.anthropic.claude-x",
                Some("anthropic.claude-x"),
            ),
            ("arn:aws:bedrock:eu-west-1:1:application-inference-profile/ab12", None),
        ] {
            assert_eq!(foundation(id).as_deref(), expected, "{id}");
        }
    }

    #[test]
    fn the_region_decides_the_default_url() {
        let url = |region: &str| {
            let spec = BedrockSpec {
                region: region.into(),
                endpoint: None,
                credentials: crate::CredentialSpec::DefaultChain,
            };
            spec.url(&"p".into()).map(|url| url.to_string())
        };
        assert_eq!(url("eu-central-1").unwrap(), "https://bedrock-runtime.eu-central-1.amazonaws.com/");
        assert_eq!(url("cn-north-1").unwrap(), "https://bedrock-runtime.cn-north-1.amazonaws.com.cn/");
        assert!(url("eu-central-1.evil.example/").is_err());
        assert!(url("").is_err());
    }
}
