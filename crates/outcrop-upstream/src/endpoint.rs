//! The base URL of a path, taken apart once so that each request only adds its own segments.
//!
//! Invariant: the operator's base path is kept as written, and nothing but the operator's URL decides
//! scheme, host and port.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::BuildError;

/// A base URL.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    scheme: Scheme,
    authority: Authority,
    prefix: Box<str>,
    query: Option<Box<str>>,
    /// What goes into `Host`, and is signed.
    pub(crate) host: HeaderValue,
}

impl Endpoint {
    pub(crate) fn parse(path: &Arc<str>, url: &Url) -> Result<Self, BuildError> {
        let refuse = |problem| BuildError::Url {
            path: Arc::clone(path),
            url: format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default()),
            problem,
        };
        let scheme = match url.scheme() {
            "https" => Scheme::HTTPS,
            "http" => Scheme::HTTP,
            _ => return Err(refuse("is neither http nor https")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse("carries credentials; use the field for the key"));
        }
        if url.fragment().is_some() {
            return Err(refuse("has a fragment"));
        }
        let host = url.host_str().ok_or_else(|| refuse("has no host"))?;
        let text = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let authority: Authority = text.parse().map_err(|_| refuse("has a host that cannot be sent"))?;
        let host = HeaderValue::from_str(&text).map_err(|_| refuse("has a host that cannot be sent"))?;
        Ok(Self {
            scheme,
            authority,
            prefix: url.path().trim_end_matches('/').into(),
            query: url.query().filter(|q| !q.is_empty()).map(Into::into),
            host,
        })
    }

    /// Like `uri`, for segments that are the same for every request.
    pub(crate) fn fixed(&self, path: &Arc<str>, segments: &[&str]) -> Result<Uri, BuildError> {
        self.uri(segments).map_err(|_| BuildError::Url {
            path: Arc::clone(path),
            url: format!("{}://{}", self.scheme, self.authority),
            problem: "has a path that cannot be sent",
        })
    }

    /// The base URL with `segments` added; they must be percent-encoded already.
    pub(crate) fn uri(&self, segments: &[&str]) -> Result<Uri, http::Error> {
        let query_bytes = self.query.as_ref().map_or(0, |q| q.len() + 1);
        let bytes_count = segments.iter().map(|s| s.len() + 1).sum::<usize>();
        let mut text = BytesMut::with_capacity(self.prefix.len() + bytes_count + query_bytes);
        text.put_slice(self.prefix.as_bytes());
        for segment in segments {
            text.put_u8(b'/');
            text.put_slice(segment.as_bytes());
        }
        if let Some(query) = &self.query {
            text.put_u8(b'?');
            text.put_slice(query.as_bytes());
        }
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(PathAndQuery::from_maybe_shared::<Bytes>(text.freeze())?)
            .build()
    }
}

/// A header value that carries a secret: `prefix` and the secret, marked as sensitive.
pub(crate) fn secret_header(
    path: &Arc<str>,
    field: &'static str,
    prefix: &str,
    secret: &SecretString,
) -> Result<HeaderValue, BuildError> {
    let mut value = HeaderValue::try_from(format!("{prefix}{}", secret.expose_secret()))
        .map_err(|_| BuildError::Header { path: Arc::clone(path), field })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> Result<Endpoint, BuildError> {
        Endpoint::parse(&"p".into(), &url.parse().unwrap())
    }

    fn check(base: &str, segments: &[&str], expected: &str) {
        assert_eq!(endpoint(base).unwrap().uri(segments).unwrap().to_string(), expected);
    }

    #[test]
    fn the_base_path_is_kept() {
        check("https://h", &["v1", "messages"], "https://h/v1/messages");
        check("https://h/", &["v1"], "https://h/v1");
        check("http://127.0.0.1:9101/a/b/", &["model", "x%3A0"], "http://127.0.0.1:9101/a/b/model/x%3A0");
        check("http://[::1]:80/", &["x"], "http://[::1]/x");
        check("https://h/openai?api-version=1", &["chat"], "https://h/openai/chat?api-version=1");
    }

    #[test]
    fn a_base_that_could_leak_or_mislead_is_refused() {
        for bad in ["ftp://h", "https://user:pass@h", "https://h/#x"] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }
}
