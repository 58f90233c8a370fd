//! Embeddings of several inputs: some models take one text per call, so one attempt may be several
//! invoke calls whose vectors are joined in the order of the inputs.
//!
//! Invariant: all vectors or a failure; once a call has been answered, a failure of another one can
//! no longer be called unsent.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::Uri;
use outcrop_core::{Class, Failure, Protocol, Reply, Usage};
use outcrop_wire::Garbled;

use super::BedrockPath;
use crate::{Answer, AnswerBody, Attempt, Whole, call, outcome};

/// Calls of one attempt that run at the same time.
const CALLS_MAX: usize = 8;

pub(super) async fn attempt(path: &BedrockPath, uri: &Uri, attempt: &Attempt<'_>) -> Result<Answer, Failure> {
    let bodies = outcrop_wire::encode_embeddings_invoke(attempt.envelope, &attempt.model)
        .map_err(outcome::inexpressible)?;
    let answered = std::sync::atomic::AtomicBool::new(false);
    let calls = bodies.into_iter().map(|body| async {
        let part = one(path, uri, attempt, body).await;
        if part.is_ok() {
            answered.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        part
    });
    let parts: Result<Vec<Answer>, Failure> = stream::iter(calls).buffered(CALLS_MAX).try_collect().await;
    let some_ran = answered.load(std::sync::atomic::Ordering::Relaxed);
    parts.map_err(|failure| charged(failure, some_ran)).and_then(join)
}

async fn one(path: &BedrockPath, uri: &Uri, attempt: &Attempt<'_>, body: Bytes) -> Result<Answer, Failure> {
    let response = path.send(uri, Protocol::BedrockInvoke, attempt, body).await?;
    call::read(response, Protocol::BedrockInvoke, attempt, &path.tasks).await
}

fn charged(mut failure: Failure, some_ran: bool) -> Failure {
    if some_ran && matches!(failure.class, Class::NotSent | Class::Refused) {
        failure.class = Class::Ambiguous;
    }
    failure
}

/// One answer out of several; ids and headers are those of the first.
fn join(parts: Vec<Answer>) -> Result<Answer, Failure> {
    let mut joined: Option<Answer> = None;
    let mut all = Vec::new();
    let mut total = Usage::of(0, 0);
    let mut name = String::new();
    for mut part in parts {
        let AnswerBody::Whole(Whole { reply, .. }) = &mut part.body else { return Err(not_vectors()) };
        let Reply::Embeddings { vectors, model, usage } = reply else { return Err(not_vectors()) };
        all.append(vectors);
        // One call that does not say what it counted makes the sum unknown.
        total.input = total.input.zip(usage.input).map(|(a, b)| a.saturating_add(b));
        name = std::mem::take(model);
        joined.get_or_insert(part);
    }
    let Some(mut answer) = joined else { return Err(not_vectors()) };
    if let AnswerBody::Whole(whole) = &mut answer.body {
        whole.reply = Reply::Embeddings { vectors: all, model: name, usage: total };
    }
    Ok(answer)
}

fn not_vectors() -> Failure {
    outcome::garbled(&Garbled("an embedding call was not answered with vectors".to_owned()))
}
