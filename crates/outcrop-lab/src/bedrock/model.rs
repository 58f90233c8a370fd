//! Which models the simulated Bedrock serves, and how their identifiers are read.
//!
//! An identifier is a plain id, a profile id with a region prefix, or an ARN whose last part is one of these. Syntax
//! follows the AWS model of the runtime; existence in an account is not simulated.

use super::refusal::Refusal;

/// Longest identifier of the AWS model.
const ID_BYTES_MAX: usize = 2_048;

/// Prefixes of inference profiles.
const PROFILES: [&str; 9] = ["eu.", "us.", "apac.", "global.", "us-gov.", "jp.", "au.", "ca.", "eusc."];

/// What a model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// Anthropic's chat models.
    Claude,
    /// Amazon's chat models.
    Nova,
    /// Amazon's text embeddings.
    Titan,
    /// Cohere's text embeddings.
    Cohere,
}

/// A served model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Model {
    /// Its id without a profile prefix.
    pub(super) id: &'static str,
    pub(super) family: Family,
    /// Output tokens at most, and the assumption where the caller sets no limit.
    pub(super) output_tokens_max: u64,
}

const MODELS: [Model; 5] = [
    Model {
        id: "anthropic.claude-sonnet-4-5-20250929-v1:0",
        family: Family::Claude,
        output_tokens_max: 64_000,
    },
    Model { id: "anthropic.claude-3-haiku-20240307-v1:0", family: Family::Claude, output_tokens_max: 4_096 },
    Model { id: "amazon.nova-lite-v1:0", family: Family::Nova, output_tokens_max: 10_000 },
    Model { id: "amazon.titan-embed-text-v2:0", family: Family::Titan, output_tokens_max: 0 },
    Model { id: "cohere.embed-multilingual-v3", family: Family::Cohere, output_tokens_max: 0 },
];

impl Model {
    /// The model an identifier names.
    pub(super) fn find(identifier: &str) -> Result<Self, Refusal> {
        let arn = identifier.starts_with("arn:");
        if !is_well_formed(identifier) || (arn && !is_arn(identifier)) {
            return Err(Refusal::invalid("The provided model identifier is invalid."));
        }
        let last = identifier.rsplit('/').next().unwrap_or(identifier);
        let plain = PROFILES.iter().find_map(|prefix| last.strip_prefix(prefix)).unwrap_or(last);
        MODELS.into_iter().find(|model| model.id == plain).ok_or_else(|| {
            if arn {
                Refusal::usual("ResourceNotFoundException")
            } else {
                Refusal::invalid("The provided model identifier is invalid.")
            }
        })
    }

    /// Whether it converses.
    pub(super) fn chats(self) -> bool {
        matches!(self.family, Family::Claude | Family::Nova)
    }

    /// Quota tokens one output token uses up.
    pub(super) fn burn_down(self) -> u64 {
        if self.family == Family::Claude { 5 } else { 1 }
    }
}

fn is_well_formed(identifier: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
    (1..=ID_BYTES_MAX).contains(&identifier.len()) && identifier.bytes().all(allowed)
}

/// `arn:partition:service:region:account:resource`.
fn is_arn(identifier: &str) -> bool {
    let parts: Vec<&str> = identifier.splitn(6, ':').collect();
    match parts.as_slice() {
        [
            "arn",
            "aws" | "aws-us-gov" | "aws-cn" | "aws-eusc",
            "bedrock" | "sagemaker",
            region,
            account,
            resource,
        ] => {
            let account_fits =
                account.is_empty() || (account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()));
            !region.is_empty() && account_fits && resource.contains('/')
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Family, Model};

    #[test]
    fn ids_profiles_and_arns_name_models() {
        for identifier in [
            "anthropic.claude-3-haiku-20240307-v1:0",
            "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "arn:aws:bedrock:eu-central-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0",
            "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ] {
            assert_eq!(Model::find(identifier).map(|model| model.family), Ok(Family::Claude), "{identifier}");
        }
    }

    #[test]
    fn unknown_ids_and_arns_earn_different_errors() {
        let name = |identifier: &str| Model::find(identifier).map_err(|refusal| refusal.name);
        assert_eq!(name("meta.llama"), Err("ValidationException".to_owned()));
        assert_eq!(name("a b"), Err("ValidationException".to_owned()));
        let arn = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/abc123";
        assert_eq!(name(arn), Err("ResourceNotFoundException".to_owned()));
    }
}
