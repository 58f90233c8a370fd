//! What went wrong in an attempt, in the terms of the gateway.
//!
//! The rule behind every line: `NotSent` needs proof; where the request may have reached the model
//! the class is `Ambiguous`. What a status or an error frame means is decided by one table in
//! `outcrop-wire`; this file only adds whose text the caller may see.

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use outcrop_core::failure::UpstreamError;
use outcrop_core::{Class, Code, Failure, Origin, Reason};
use outcrop_wire::{Garbled, Inexpressible, StreamError};

use crate::connect::ConnectError;

/// Longest hint of an upstream that is honoured.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// A failed connection, or a request that got no answer.
pub(crate) fn of_send(error: &hyper_util::client::legacy::Error) -> Failure {
    let detail = chain(error);
    if let Some(connect) = find::<ConnectError>(error) {
        return Failure::network(reason_of(connect), Class::NotSent, detail);
    }
    if error.is_connect() {
        return Failure::network(Reason::Connect, Class::NotSent, detail);
    }
    match find::<hyper::Error>(error) {
        // hyper says "canceled" only where it handed the request back without starting it.
        Some(cause) if cause.is_canceled() => Failure::network(Reason::Connect, Class::NotSent, detail),
        Some(cause) if cause.is_parse() => Failure::network(Reason::Garbled, Class::Ambiguous, detail),
        _ => Failure::network(Reason::Reset, Class::Ambiguous, detail),
    }
}

fn reason_of(error: &ConnectError) -> Reason {
    match error {
        ConnectError::Dns { .. } => Reason::Dns,
        ConnectError::Tls(_) => Reason::Tls,
        ConnectError::Refused { .. }
        | ConnectError::Timeout(_)
        | ConnectError::Egress(_)
        | ConnectError::NoHost => Reason::Connect,
    }
}

/// A body that broke while it was read.
pub(crate) fn of_body(error: &hyper::Error) -> Failure {
    Failure::network(Reason::Reset, Class::Ambiguous, chain(error))
}

/// An attempt that ran out of its share of the deadline.
pub(crate) fn late(detail: &'static str) -> Failure {
    Failure::network(Reason::Timeout, Class::Ambiguous, detail)
}

/// Bytes that are not the protocol.
pub(crate) fn garbled(error: &Garbled) -> Failure {
    Failure::network(Reason::Garbled, Class::Ambiguous, error.0.clone())
}

/// A stream that broke off or said that it failed.
pub(crate) fn of_stream(error: StreamError) -> Failure {
    let reason = match error {
        StreamError::Upstream(upstream) => return refused(*upstream, None),
        StreamError::Garbled(_) => Reason::Garbled,
        StreamError::Oversized { .. } => Reason::Oversized,
        StreamError::Truncated => Reason::Truncated,
    };
    Failure::network(reason, Class::Ambiguous, error.to_string())
}

/// A request that this path cannot say.
pub(crate) fn inexpressible(error: Inexpressible) -> Failure {
    Failure {
        origin: Origin::Caller,
        reason: Reason::Inexpressible,
        class: Class::NotHere,
        code: Code::InvalidRequest,
        message: Cow::Owned(error.0),
        detail: String::new(),
        upstream: None,
        retry_after: None,
    }
}

/// The path cannot say how many tokens an input has.
pub(crate) fn nobody_counts() -> Failure {
    inexpressible(Inexpressible("The path does not count the tokens of this input.".to_owned()))
}

/// A redirect. It is not followed, because only the operator says where requests go.
pub(crate) fn redirected(status: u16) -> Failure {
    Failure {
        origin: Origin::Upstream,
        reason: Reason::NotFound,
        class: Class::NotHere,
        code: Code::UpstreamFailed,
        message: Cow::Borrowed("The upstream is not where the gateway's configuration says."),
        detail: format!("status {status}: redirects are not followed"),
        upstream: None,
        retry_after: None,
    }
}

/// No credentials to send a request with.
pub(crate) fn no_credentials(detail: impl Into<String>) -> Failure {
    Failure { origin: Origin::Gateway, ..Failure::network(Reason::NoCredentials, Class::Credential, detail) }
}

/// An error of the upstream's own.
pub(crate) fn refused(mut error: UpstreamError, retry_after: Option<Duration>) -> Failure {
    let (class, reason) = outcrop_wire::classify(&error);
    let detail = format!("status {}, {}: {}", error.status, error.kind, error.message);
    // What an upstream says about the gateway's own credentials (account numbers, key prefixes) is
    // for the operator.
    let private = match reason {
        Reason::CredentialsRefused | Reason::NoCredentials => {
            Some("The upstream refused the gateway's credentials; its operator must check them.")
        }
        Reason::Forbidden => {
            Some("The upstream forbids the gateway to use this model; its operator must allow it there.")
        }
        _ => None,
    };
    if let Some(text) = private {
        text.clone_into(&mut error.message);
    }
    let message = if error.message.is_empty() {
        Cow::Borrowed("The upstream failed.")
    } else {
        Cow::Owned(error.message.clone())
    };
    Failure {
        origin: Origin::Upstream,
        reason,
        class,
        code: Code::UpstreamFailed,
        message,
        detail,
        upstream: Some(Box::new(error)),
        retry_after: retry_after.map(|hint| hint.min(RETRY_AFTER_MAX)),
    }
}

fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    std::iter::successors(Some(error), |e| (*e).source()).find_map(|e| e.downcast_ref::<T>())
}

/// The error and its causes, for the log.
fn chain(error: &(dyn Error + 'static)) -> String {
    std::iter::successors(Some(error), |e| (*e).source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
