//! How the generator proves who it is: bearer, API key or AWS signature.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use http::{HeaderName, HeaderValue, Request, header};

/// A credential; `Debug` shows no secret.
#[derive(Clone)]
pub enum Credential {
    /// Nothing is sent.
    None,
    /// `authorization: Bearer …`.
    Bearer(String),
    /// `x-api-key: …`, as Anthropic's clients send it.
    ApiKey(String),
    /// AWS Signature Version 4 for the service `bedrock`.
    SigV4 {
        /// Access key id.
        id: String,
        /// Secret access key.
        secret: String,
        /// Region of the signature's scope.
        region: String,
    },
}

/// Why a request cannot be signed.
#[derive(Debug, thiserror::Error)]
#[error("the request cannot be signed: {0}")]
pub struct CredentialError(String);

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Bearer(_) => "Bearer(…)",
            Self::ApiKey(_) => "ApiKey(…)",
            Self::SigV4 { .. } => "SigV4 { … }",
        })
    }
}

impl Credential {
    /// Adds the proof to a request with this body, at this time.
    pub fn put<B>(
        &self,
        request: &mut Request<B>,
        body: &[u8],
        now: SystemTime,
    ) -> Result<(), CredentialError> {
        match self {
            Self::None => Ok(()),
            Self::Bearer(key) => insert(request, header::AUTHORIZATION, &format!("Bearer {key}")),
            Self::ApiKey(key) => insert(request, HeaderName::from_static("x-api-key"), key),
            Self::SigV4 { id, secret, region } => {
                let credentials = Credentials::new(id, secret, None, None, "load");
                let identity = credentials.into();
                let params = v4::SigningParams::builder()
                    .identity(&identity)
                    .region(region)
                    .name("bedrock")
                    .time(now)
                    .settings(SigningSettings::default())
                    .build()
                    .map_err(|error| CredentialError(error.to_string()))?;
                sign_with(request, body, &params.into())
            }
        }
    }
}

fn sign_with<B>(
    request: &mut Request<B>,
    body: &[u8],
    params: &aws_sigv4::http_request::SigningParams<'_>,
) -> Result<(), CredentialError> {
    let refused = |error: &dyn std::fmt::Display| CredentialError(error.to_string());
    let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
    insert(request, header::HOST, &host)?;
    let signed = [("host", host.as_str()), ("content-type", "application/json")];
    let signable = SignableRequest::new(
        request.method().as_str(),
        request.uri().to_string(),
        signed.into_iter(),
        SignableBody::Bytes(body),
    )
    .map_err(|error| refused(&error))?;
    let (instructions, _) = sign(signable, params).map_err(|error| refused(&error))?.into_parts();
    for (name, value) in instructions.headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| refused(&error))?;
        insert(request, name, value)?;
    }
    Ok(())
}

fn insert<B>(request: &mut Request<B>, name: HeaderName, value: &str) -> Result<(), CredentialError> {
    let value = HeaderValue::from_str(value)
        .map_err(|_| CredentialError(format!("`{name}` would hold a character that no header may")))?;
    request.headers_mut().insert(name, value);
    Ok(())
}
