//! How an exchange or an attempt fails: whose fault, why, and what may follow.
//!
//! One classification for the whole gateway; every `match` on it is without `_`, so that a further
//! class makes the compiler list what must be decided. Client text and log text are two fields.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Protocol;

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The caller asked for something that cannot be.
    Caller,
    /// This gateway or its configuration.
    Gateway,
    /// The network between the gateway and the upstream.
    Network,
    /// The upstream answered with an error.
    Upstream,
}

/// What may follow (see `docs/routing.md`, "Outcomes").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Proof that nothing was sent: the next target, always.
    NotSent,
    /// Refused before it ran: the next target at once.
    Refused,
    /// It may have run: the next target, unless running twice would do harm.
    Ambiguous,
    /// Content reached the caller: never again.
    Partial,
    /// It would fail anywhere.
    Permanent,
    /// This target does not have it; another may.
    NotHere,
    /// Credentials were refused: refresh once, then the next target.
    Credential,
    /// The caller left.
    CallerGone,
}

impl Class {
    /// The bounded metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotSent => "not_sent",
            Self::Refused => "refused",
            Self::Ambiguous => "ambiguous",
            Self::Partial => "partial",
            Self::Permanent => "permanent",
            Self::NotHere => "not_here",
            Self::Credential => "credential",
            Self::CallerGone => "caller_gone",
        }
    }
}

/// Why, as a bounded label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Name lookup failed.
    Dns,
    /// The connection was refused or could not be made.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// No credentials could be had.
    NoCredentials,
    /// The upstream refused the credentials.
    CredentialsRefused,
    /// The connection broke before the answer was whole.
    Reset,
    /// No answer in time.
    Timeout,
    /// The stream stood still.
    Stalled,
    /// The stream ended without its terminal event.
    Truncated,
    /// Bytes that are not the protocol.
    Garbled,
    /// An answer larger than the limit.
    Oversized,
    /// Too many requests or tokens.
    Throttled,
    /// The upstream is overloaded or down for now.
    Unavailable,
    /// The model is not ready yet.
    ModelNotReady,
    /// The upstream failed inside.
    Internal,
    /// The model failed or timed out inside the upstream.
    ModelError,
    /// The upstream says that the request is wrong.
    BadRequest,
    /// The upstream does not know the model.
    NotFound,
    /// There is such a route, with another method.
    WrongMethod,
    /// The upstream forbids it.
    Forbidden,
    /// The tool reported an error.
    ToolError,
    /// The request cannot be expressed on this path.
    Inexpressible,
    /// The caller left.
    CallerGone,
    /// Another attempt of the same exchange answered first.
    Outrun,
    /// The gateway itself refused, see the code.
    Policy,
    /// An access key id that is not known here.
    UnknownPair,
    /// An access key id that has expired.
    ExpiredPair,
    /// A signature that is not whole, or not of a kind that is taken.
    MalformedSignature,
    /// A signature that does not fit the request, the key or the time.
    WrongSignature,
}

impl Reason {
    /// Whether the gateway's own credentials are what is wrong.
    pub fn is_about_credentials(self) -> bool {
        matches!(self, Self::NoCredentials | Self::CredentialsRefused)
    }

    /// The bounded metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::NoCredentials => "no_credentials",
            Self::CredentialsRefused => "credentials_refused",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Stalled => "stalled",
            Self::Truncated => "truncated",
            Self::Garbled => "garbled",
            Self::Oversized => "oversized",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::ModelNotReady => "model_not_ready",
            Self::Internal => "internal",
            Self::ModelError => "model_error",
            Self::BadRequest => "bad_request",
            Self::NotFound => "not_found",
            Self::WrongMethod => "wrong_method",
            Self::Forbidden => "forbidden",
            Self::ToolError => "tool_error",
            Self::Inexpressible => "inexpressible",
            Self::CallerGone => "caller_gone",
            Self::Outrun => "outrun",
            Self::Policy => "policy",
            Self::UnknownPair => "unknown_pair",
            Self::ExpiredPair => "expired_pair",
            Self::MalformedSignature => "malformed_signature",
            Self::WrongSignature => "wrong_signature",
        }
    }
}

/// Our stable code, part of the public contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// 400.
    InvalidRequest,
    /// 401.
    Unauthenticated,
    /// 402.
    BudgetExceeded,
    /// 403.
    Forbidden,
    /// 404.
    UnknownModel,
    /// 409.
    KeyInUse,
    /// 413.
    TooLarge,
    /// 422.
    KeyReused,
    /// 422.
    PriceUnknown,
    /// 429.
    RateLimited,
    /// 502.
    OutcomeUnknown,
    /// 502.
    UpstreamFailed,
    /// 503.
    NoLegalTarget,
    /// 503.
    LedgerUnavailable,
    /// 503.
    Stopped,
    /// 503.
    Disabled,
    /// 503.
    Overloaded,
    /// 504.
    DeadlineInfeasible,
    /// 504.
    DeadlineExceeded,
}

impl Code {
    /// The text of the code.
    pub fn label(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Unauthenticated => "unauthenticated",
            Self::BudgetExceeded => "budget_exceeded",
            Self::Forbidden => "forbidden",
            Self::UnknownModel => "unknown_model",
            Self::KeyInUse => "idempotency_key_in_use",
            Self::TooLarge => "too_large",
            Self::KeyReused => "idempotency_key_reused",
            Self::PriceUnknown => "price_unknown",
            Self::RateLimited => "rate_limited",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::UpstreamFailed => "upstream_failed",
            Self::NoLegalTarget => "no_legal_target",
            Self::LedgerUnavailable => "ledger_unavailable",
            Self::Stopped => "stopped",
            Self::Disabled => "disabled",
            Self::Overloaded => "overloaded",
            Self::DeadlineInfeasible => "deadline_infeasible",
            Self::DeadlineExceeded => "deadline_exceeded",
        }
    }

    /// The HTTP status that belongs to the code when the gateway itself refuses.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::Unauthenticated => 401,
            Self::BudgetExceeded => 402,
            Self::Forbidden => 403,
            Self::UnknownModel => 404,
            Self::KeyInUse => 409,
            Self::TooLarge => 413,
            Self::KeyReused | Self::PriceUnknown => 422,
            Self::RateLimited => 429,
            Self::OutcomeUnknown | Self::UpstreamFailed => 502,
            Self::NoLegalTarget
            | Self::LedgerUnavailable
            | Self::Stopped
            | Self::Disabled
            | Self::Overloaded => 503,
            Self::DeadlineInfeasible | Self::DeadlineExceeded => 504,
        }
    }
}

/// A failure of an attempt or of the whole exchange.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}: {message}", .code.label())]
pub struct Failure {
    /// Whose fault.
    pub origin: Origin,
    /// Why.
    pub reason: Reason,
    /// What may follow.
    pub class: Class,
    /// Our stable code.
    pub code: Code,
    /// Text for the caller: the cause and the way out; no addresses, no secrets.
    pub message: Cow<'static, str>,
    /// Text for the log; empty if there is nothing more to say.
    pub detail: String,
    /// What the upstream answered, if it did.
    pub upstream: Option<Box<UpstreamError>>,
    /// When a further try may help.
    pub retry_after: Option<Duration>,
}

/// An upstream's own error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamError {
    /// The protocol it was spoken in.
    pub protocol: Protocol,
    /// HTTP status; for an error inside a stream the status it would have had directly.
    pub status: u16,
    /// The upstream's own name of the error (`ThrottlingException`, `rate_limit_error`); may be
    /// empty.
    pub kind: String,
    /// The upstream's own message.
    pub message: String,
    /// The upstream's request id; empty if it gave none.
    pub request_id: String,
}

impl Failure {
    /// A refusal by the gateway that the caller can mend.
    pub fn refusal(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        let origin = match code.status() {
            500.. => Origin::Gateway,
            _ => Origin::Caller,
        };
        Self {
            origin,
            reason: Reason::Policy,
            class: Class::Permanent,
            code,
            message: message.into(),
            detail: String::new(),
            upstream: None,
            retry_after: None,
        }
    }

    /// A signed request that is not believed.
    pub fn unsigned(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, ..Self::refusal(Code::Unauthenticated, message) }
    }

    /// A failure on the way to the upstream, with a text for the log.
    pub fn network(reason: Reason, class: Class, detail: impl Into<String>) -> Self {
        Self {
            origin: Origin::Network,
            reason,
            class,
            code: Code::UpstreamFailed,
            message: Cow::Borrowed(network_message(reason)),
            detail: detail.into(),
            upstream: None,
            retry_after: None,
        }
    }

    /// The deadline of the exchange passed.
    pub fn deadline(detail: impl Into<String>) -> Self {
        Self {
            origin: Origin::Upstream,
            reason: Reason::Timeout,
            class: Class::Ambiguous,
            code: Code::DeadlineExceeded,
            message: Cow::Borrowed(
                "The deadline of this operation passed before an answer came; allow more time with \
                 a slower operation, or ask for less.",
            ),
            detail: detail.into(),
            upstream: None,
            retry_after: None,
        }
    }

    /// The caller left.
    pub fn caller_gone() -> Self {
        Self {
            origin: Origin::Caller,
            reason: Reason::CallerGone,
            class: Class::CallerGone,
            code: Code::InvalidRequest,
            message: Cow::Borrowed("The caller closed the connection."),
            detail: String::new(),
            upstream: None,
            retry_after: None,
        }
    }

    /// The same failure, with a text for the log.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// The same failure, once content has reached the caller.
    #[must_use]
    pub fn after_content(mut self) -> Self {
        if self.class != Class::CallerGone {
            self.class = Class::Partial;
        }
        self
    }
}

fn network_message(reason: Reason) -> &'static str {
    match reason {
        Reason::Dns => "The upstream's name could not be resolved.",
        Reason::Connect => "The upstream could not be reached.",
        Reason::Tls => "No secure connection to the upstream could be made.",
        Reason::Reset => "The upstream closed the connection before its answer was complete.",
        Reason::Timeout => "The upstream did not answer in time.",
        Reason::Stalled => "The upstream stopped sending in the middle of its answer.",
        Reason::Truncated => "The upstream's answer ended before it was complete.",
        Reason::Garbled => "The upstream's answer is not valid in its protocol.",
        Reason::Oversized => "The upstream's answer is larger than the limit.",
        Reason::NoCredentials => "The gateway has no credentials for this path.",
        Reason::CredentialsRefused => "The upstream refused the gateway's credentials.",
        Reason::Throttled
        | Reason::Unavailable
        | Reason::ModelNotReady
        | Reason::Internal
        | Reason::ModelError
        | Reason::BadRequest
        | Reason::NotFound
        | Reason::WrongMethod
        | Reason::Forbidden
        | Reason::ToolError
        | Reason::Inexpressible
        | Reason::CallerGone
        | Reason::Outrun
        | Reason::Policy
        | Reason::UnknownPair
        | Reason::ExpiredPair
        | Reason::MalformedSignature
        | Reason::WrongSignature => "The upstream failed.",
    }
}
