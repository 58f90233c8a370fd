//! The Anthropic API: messages and token counts.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Uri};
use outcrop_core::{Failure, Protocol};
use outcrop_wire::Inexpressible;
use tokio_util::task::TaskTracker;

use crate::client::HttpClient;
use crate::endpoint::{Endpoint, secret_header};
use crate::want::{Want, want};
use crate::{Answer, Attempt, BuildError, HttpSpec, PathSpec, call, outcome};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const BETA: HeaderName = HeaderName::from_static("anthropic-beta");
/// What is spoken where the caller names no version.
const VERSION_DEFAULT: HeaderValue = HeaderValue::from_static("2023-06-01");

/// The Anthropic API.
#[derive(Debug)]
pub struct AnthropicPath {
    endpoint: Endpoint,
    messages: Uri,
    count_tokens: Uri,
    key: Option<HeaderValue>,
    client: HttpClient,
    tasks: TaskTracker,
}

impl AnthropicPath {
    pub(crate) fn build(
        spec: &PathSpec,
        http: &HttpSpec,
        client: HttpClient,
        tasks: &TaskTracker,
    ) -> Result<Self, BuildError> {
        let endpoint = Endpoint::parse(&spec.name, &http.base)?;
        let key = http.key.as_ref().map(|key| secret_header(&spec.name, "key", "", key)).transpose()?;
        Ok(Self {
            messages: endpoint.fixed(&spec.name, &["v1", "messages"])?,
            count_tokens: endpoint.fixed(&spec.name, &["v1", "messages", "count_tokens"])?,
            endpoint,
            key,
            client,
            tasks: tasks.clone(),
        })
    }

    pub(crate) async fn attempt(&self, attempt: Attempt<'_>) -> Result<Answer, Failure> {
        let (protocol, uri) = match want(attempt.envelope) {
            Want::Chat => (Protocol::AnthropicMessages, &self.messages),
            Want::CountTokens => (Protocol::AnthropicCountTokens, &self.count_tokens),
            Want::Embed | Want::Native => {
                return Err(outcome::inexpressible(Inexpressible(
                    "An Anthropic path can neither make embeddings nor carry a model's native body."
                        .to_owned(),
                )));
            }
        };
        let body = outcrop_wire::encode_request(protocol, attempt.envelope, &attempt.model)
            .map_err(outcome::inexpressible)?;
        self.send(protocol, uri, body, attempt).await
    }

    /// Asks how many tokens an attempt's input has.
    pub(crate) async fn count_input(&self, attempt: Attempt<'_>) -> Result<Answer, Failure> {
        let spoken = match want(attempt.envelope) {
            Want::Chat => Protocol::AnthropicMessages,
            Want::CountTokens | Want::Embed | Want::Native => return Err(outcome::nobody_counts()),
        };
        let body = outcrop_wire::encode_request(spoken, attempt.envelope, &attempt.model)
            .map_err(outcome::inexpressible)?;
        let (protocol, body) = outcrop_wire::count_of(spoken, &body).ok_or_else(outcome::nobody_counts)?;
        self.send(protocol, &self.count_tokens, body, attempt).await
    }

    async fn send(
        &self,
        protocol: Protocol,
        uri: &Uri,
        body: Bytes,
        attempt: Attempt<'_>,
    ) -> Result<Answer, Failure> {
        let mut request = call::post(uri.clone(), &self.endpoint.host, body);
        let headers = request.headers_mut();
        if let Some(key) = &self.key {
            headers.insert(X_API_KEY, key.clone());
        }
        match joined_betas(&attempt.envelope.betas) {
            Some(betas) => {
                headers.insert(BETA, betas);
                call::forward(attempt.headers, headers, |name| *name == VERSION);
            }
            None => {
                call::forward(attempt.headers, headers, |name| *name == VERSION || *name == BETA);
            }
        }
        headers.entry(VERSION).or_insert(VERSION_DEFAULT);
        let response = self.client.send(request, attempt.dispatch, (&attempt).into()).await?;
        call::read(response, protocol, &attempt, &self.tasks).await
    }
}

/// The caller's beta names as one header, unknown ones included.
fn joined_betas(betas: &[String]) -> Option<HeaderValue> {
    match betas {
        [] => None,
        _ => HeaderValue::try_from(betas.join(",")).ok(),
    }
}
