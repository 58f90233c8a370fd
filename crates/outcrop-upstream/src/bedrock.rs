//! Amazon Bedrock runtime, directly: its five operations, signed or with a bearer key.
//!
//! One attempt is one request, with a single exception that routing.md names: when the credentials
//! were refused, they are renewed (or the clock is corrected) and the request is sent once more.
//! Invariant: the model id is one percent-encoded path segment, and what is signed is what is sent.

mod address;
mod credentials;
mod embeddings;
mod sign;

use std::sync::Arc;

use aws_config::Region;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use outcrop_core::{Class, Failure, Protocol};
use outcrop_wire::{Envelope, Inexpressible};
use tokio::time::timeout_at;
use tokio_util::task::TaskTracker;
use url::Url;

use self::credentials::{CredentialCache, Issued, Source};
use self::sign::Signer;
use crate::call::{self, Refusal};
use crate::client::HttpClient;
use crate::endpoint::{Endpoint, secret_header};
use crate::want::{Want, want};
use crate::{Answer, Attempt, BedrockSpec, BuildError, CredentialSpec, PathSpec, clock, outcome, tier};

/// Amazon Bedrock runtime in one region.
#[derive(Debug)]
pub struct BedrockPath {
    endpoint: Endpoint,
    authority: Authority,
    client: HttpClient,
    tasks: TaskTracker,
}

/// How requests prove who sends them.
#[derive(Debug)]
enum Authority {
    Bearer(HeaderValue),
    Signed { signer: Signer, cache: CredentialCache },
}

/// The protocol that an attempt at `model_id` would use.
pub(crate) fn speaks(envelope: &Envelope, model_id: &str) -> Option<Protocol> {
    match envelope.protocol {
        own @ (Protocol::BedrockConverse | Protocol::BedrockInvoke | Protocol::BedrockCountTokens) => {
            Some(own)
        }
        Protocol::AnthropicMessages if address::is_anthropic(model_id) => Some(Protocol::BedrockInvoke),
        Protocol::OpenAiChat
        | Protocol::AnthropicMessages
        | Protocol::OpenAiEmbeddings
        | Protocol::AnthropicCountTokens
        | Protocol::McpTool => match want(envelope) {
            Want::Chat => Some(Protocol::BedrockConverse),
            Want::Embed => address::makes_embeddings(model_id).then_some(Protocol::BedrockInvoke),
            Want::CountTokens => Some(Protocol::BedrockCountTokens),
            Want::Native => None,
        },
    }
}

impl BedrockPath {
    pub(crate) fn build(
        spec: &PathSpec,
        bedrock: &BedrockSpec,
        url: &Url,
        client: HttpClient,
        tasks: &TaskTracker,
    ) -> Result<Self, BuildError> {
        let authority = authority(spec, bedrock, tasks)?;
        let endpoint = Endpoint::parse(&spec.name, url)?;
        Ok(Self { endpoint, authority, client, tasks: tasks.clone() })
    }

    pub(crate) fn close(&self) {
        if let Authority::Signed { cache, .. } = &self.authority {
            cache.stop();
        }
    }

    pub(crate) async fn attempt(&self, attempt: Attempt<'_>) -> Result<Answer, Failure> {
        let model = attempt.model.id;
        let Some(protocol) = speaks(attempt.envelope, model) else {
            return Err(outcome::inexpressible(Inexpressible(format!(
                "The model {model} on Amazon Bedrock cannot serve this kind of request."
            ))));
        };
        let encoded = address::encode(model).map_err(outcome::inexpressible)?;
        let operation = operation(protocol, attempt.envelope.stream);
        let uri = self
            .endpoint
            .uri(&["model", &encoded, operation])
            .map_err(|error| outcome::inexpressible(Inexpressible(error.to_string())))?;
        if attempt.envelope.protocol == Protocol::OpenAiEmbeddings {
            return embeddings::attempt(self, &uri, &attempt).await;
        }
        let body = outcrop_wire::encode_request(protocol, attempt.envelope, &attempt.model)
            .map_err(outcome::inexpressible)?;
        let body = tier::in_body(protocol, attempt.tier, body);
        let response = self.send(&uri, protocol, &attempt, body).await?;
        call::read(response, protocol, &attempt, &self.tasks).await
    }

    /// Asks how many tokens an attempt's input has. Only the model's own id is known there, no profile.
    pub(crate) async fn count_input(&self, attempt: Attempt<'_>) -> Result<Answer, Failure> {
        let protocol = speaks(attempt.envelope, attempt.model.id).ok_or_else(outcome::nobody_counts)?;
        let model = address::foundation(attempt.model.id).ok_or_else(outcome::nobody_counts)?;
        let encoded = address::encode(&model).map_err(outcome::inexpressible)?;
        let body = outcrop_wire::encode_request(protocol, attempt.envelope, &attempt.model)
            .map_err(outcome::inexpressible)?;
        let (protocol, body) = outcrop_wire::count_of(protocol, &body).ok_or_else(outcome::nobody_counts)?;
        let uri = self
            .endpoint
            .uri(&["model", &encoded, operation(protocol, false)])
            .map_err(|error| outcome::inexpressible(Inexpressible(error.to_string())))?;
        let response = self.send(&uri, protocol, &attempt, body).await?;
        call::read(response, protocol, &attempt, &self.tasks).await
    }

    /// Sends one request; `Ok` has a success status. Renews credentials and sends again, once, when
    /// that is why it was refused.
    async fn send(
        &self,
        uri: &Uri,
        protocol: Protocol,
        attempt: &Attempt<'_>,
        body: Bytes,
    ) -> Result<Response<Incoming>, Failure> {
        let mut renewed = false;
        loop {
            let mut request = call::post(uri.clone(), &self.endpoint.host, body.clone());
            if protocol == Protocol::BedrockInvoke && attempt.envelope.protocol == protocol {
                call::forward(attempt.headers, request.headers_mut(), |name| {
                    *name == ACCEPT || name.as_str().starts_with("x-amzn-bedrock-")
                });
            }
            tier::in_head(protocol, attempt.tier, &mut request);
            let issued = self.authorize(&mut request, &body, attempt).await?;
            let response = self.client.send(request, attempt.dispatch, attempt.into()).await?;
            if response.status().is_success() {
                return Ok(response);
            }
            let refusal = Refusal::read(response, protocol, attempt.deadline).await?;
            let may_renew = refusal.failure.class == Class::Credential && !renewed;
            if !may_renew || !self.renew(issued.as_deref(), &refusal, attempt).await {
                return Err(refusal.into_failure());
            }
            renewed = true;
        }
    }

    /// Adds the proof; gives back what was signed with.
    async fn authorize(
        &self,
        request: &mut Request<Full<Bytes>>,
        body: &[u8],
        attempt: &Attempt<'_>,
    ) -> Result<Option<Arc<Issued>>, Failure> {
        match &self.authority {
            Authority::Bearer(value) => {
                request.headers_mut().insert(AUTHORIZATION, value.clone());
                Ok(None)
            }
            Authority::Signed { signer, cache } => {
                let now = clock::wall();
                let issued = match cache.current(now) {
                    Some(issued) => issued,
                    None => timeout_at(attempt.deadline, cache.obtain())
                        .await
                        .map_err(|_| outcome::no_credentials("none before the deadline"))?
                        .map_err(|problem| outcome::no_credentials(&*problem))?,
                };
                signer
                    .sign(request, body, &issued, now)
                    .map_err(|error| outcome::no_credentials(error.to_string()))?;
                Ok(Some(issued))
            }
        }
    }

    /// Whether a refused request is worth a second try: the clock was corrected, or there are other
    /// credentials than the refused ones.
    async fn renew(&self, refused: Option<&Issued>, refusal: &Refusal, attempt: &Attempt<'_>) -> bool {
        let (Authority::Signed { signer, cache }, Some(refused)) = (&self.authority, refused) else {
            return false;
        };
        if let Some(date) = refusal.date
            && signer.correct_clock(date, clock::wall())
        {
            return true;
        }
        match timeout_at(attempt.deadline, cache.renew(refused)).await {
            Ok(Ok(issued)) => !issued.same_as(refused),
            Ok(Err(_)) | Err(_) => false,
        }
    }
}

fn authority(spec: &PathSpec, bedrock: &BedrockSpec, tasks: &TaskTracker) -> Result<Authority, BuildError> {
    let region = Region::new(bedrock.region.clone());
    let source = match &bedrock.credentials {
        CredentialSpec::BearerToken(token) => {
            let value = secret_header(&spec.name, "the bearer token", "Bearer ", token)?;
            return Ok(Authority::Bearer(value));
        }
        CredentialSpec::DefaultChain => Source::Chain { region },
        CredentialSpec::Profile(name) => Source::Profile { name: name.clone(), region },
        CredentialSpec::AssumeRole(arn) => Source::Role { arn: arn.clone(), region },
        CredentialSpec::StaticKeys { id, secret, session } => Source::fixed(id, secret, session.as_ref()),
    };
    Ok(Authority::Signed {
        signer: Signer::new(&bedrock.region),
        cache: CredentialCache::start(source, &spec.name, tasks),
    })
}

/// The last segment of the URL for a protocol of Bedrock's own.
fn operation(protocol: Protocol, stream: bool) -> &'static str {
    match (protocol, stream) {
        (Protocol::BedrockInvoke, false) => "invoke",
        (Protocol::BedrockInvoke, true) => "invoke-with-response-stream",
        (Protocol::BedrockCountTokens, _) => "count-tokens",
        (_, false) => "converse",
        (_, true) => "converse-stream",
    }
}
