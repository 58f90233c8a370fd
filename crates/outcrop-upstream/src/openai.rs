//! Any endpoint that speaks the OpenAI REST API: chat completions and embeddings.

use http::header::AUTHORIZATION;
use http::{HeaderValue, Uri};
use outcrop_core::{Failure, Protocol};
use outcrop_wire::Inexpressible;
use tokio_util::task::TaskTracker;

use crate::client::HttpClient;
use crate::endpoint::{Endpoint, secret_header};
use crate::want::{Want, want};
use crate::{Answer, Attempt, BuildError, HttpSpec, PathSpec, call, outcome, tier};

/// An OpenAI-compatible endpoint.
#[derive(Debug)]
pub struct OpenAiPath {
    endpoint: Endpoint,
    chat: Uri,
    embeddings: Uri,
    authorization: Option<HeaderValue>,
    client: HttpClient,
    tasks: TaskTracker,
}

impl OpenAiPath {
    pub(crate) fn build(
        spec: &PathSpec,
        http: &HttpSpec,
        client: HttpClient,
        tasks: &TaskTracker,
    ) -> Result<Self, BuildError> {
        let endpoint = Endpoint::parse(&spec.name, &http.base)?;
        let authorization =
            http.key.as_ref().map(|key| secret_header(&spec.name, "key", "Bearer ", key)).transpose()?;
        Ok(Self {
            chat: endpoint.fixed(&spec.name, &["chat", "completions"])?,
            embeddings: endpoint.fixed(&spec.name, &["embeddings"])?,
            endpoint,
            authorization,
            client,
            tasks: tasks.clone(),
        })
    }

    pub(crate) async fn attempt(&self, attempt: Attempt<'_>) -> Result<Answer, Failure> {
        let (protocol, uri) = match want(attempt.envelope) {
            Want::Chat => (Protocol::OpenAiChat, &self.chat),
            Want::Embed => (Protocol::OpenAiEmbeddings, &self.embeddings),
            Want::CountTokens | Want::Native => {
                return Err(outcome::inexpressible(Inexpressible(
                    "An OpenAI-compatible path can neither count tokens nor carry a model's native \
                     body."
                        .to_owned(),
                )));
            }
        };
        let body = outcrop_wire::encode_request(protocol, attempt.envelope, &attempt.model)
            .map_err(outcome::inexpressible)?;
        let body = tier::in_body(protocol, attempt.tier, body);
        let mut request = call::post(uri.clone(), &self.endpoint.host, body);
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let response = self.client.send(request, attempt.dispatch, (&attempt).into()).await?;
        call::read(response, protocol, &attempt, &self.tasks).await
    }
}
