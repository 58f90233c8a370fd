//! May they, this often? Holds an exchange against the rate limits, and tells its caller what is left.
//!
//! A request is looked at twice: before its body is read, by the rows that need not know its model, and
//! then by all of them, when one request is taken from each or from none. A refusal is the gateway's own
//! and goes to no target. Where a row of ours applies, what an upstream said of its own limits is not
//! passed on: two clocks in one header would be worse than none.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use outcrop_core::Dialect;
use outcrop_core::failure::{Code, Failure};
use outcrop_policy::Attribution;
use outcrop_policy::rates::{Level, Limited, RateRefusal, RefusalKind, Standing};
use tokio::time::Instant;

use crate::gateway::Gateway;
use crate::settle::{Rated, Record};

/// Refuses early what would be refused anyway.
pub(crate) fn foresee(gateway: &Gateway, whose: Attribution, record: &mut Record) -> Result<(), Failure> {
    match gateway.rates.foresee(&whose, Instant::now().into_std()) {
        Ok(()) => Ok(()),
        Err(refusal) => Err(turned_away(gateway, whose, &refusal, record)),
    }
}

/// Takes one request from every row that speaks of it.
pub(crate) fn rate(gateway: &Gateway, whose: Attribution, record: &mut Record) -> Result<(), Failure> {
    match gateway.rates.admit(&whose, Instant::now().into_std()) {
        Ok(standing) => {
            record.rated(Rated { whose: Arc::new(whose), standing });
            Ok(())
        }
        Err(refusal) => Err(turned_away(gateway, whose, &refusal, record)),
    }
}

/// Takes one call of a federated tool, which has no record.
pub(crate) fn rate_tool(gateway: &Gateway, whose: &Attribution) -> Result<(), Failure> {
    let admitted = gateway.rates.admit(whose, Instant::now().into_std());
    admitted.map(|_| ()).map_err(|refusal| refused(gateway, &refusal))
}

fn turned_away(gateway: &Gateway, whose: Attribution, refusal: &RateRefusal, record: &mut Record) -> Failure {
    record.rated(Rated { whose: Arc::new(whose), standing: refusal.standing });
    refused(gateway, refusal)
}

fn refused(gateway: &Gateway, refusal: &RateRefusal) -> Failure {
    gateway.metrics.rate_limited(&refusal.scope_kind);
    let (scope, limit) = (&refusal.scope, &refusal.limit);
    let seconds = whole_seconds(refusal.retry_after);
    let message = match refusal.kind {
        RefusalKind::UsedUp(Limited::Requests) => {
            format!("The rate limit of {limit} for {scope} is reached; try again in {seconds} s.")
        }
        RefusalKind::UsedUp(Limited::Tokens) => format!(
            "The rate limit of {limit} for {scope} is used up by earlier requests; try again in {seconds} s."
        ),
        RefusalKind::Crowded => format!(
            "The rate limit of {limit} for {scope} already watches as many names as it may, and yours would \
             be a new one; try again in {seconds} s."
        ),
    };
    let mut failure = Failure::refusal(Code::RateLimited, message);
    failure.retry_after = Some(refusal.retry_after);
    failure
}

/// Seconds, rounded up and at least one: whoever waits that long does not come too early.
pub(crate) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0)).max(1)
}

/// Writes what is left into the headers of an answer, in the words of its dialect; `unix` is the time of
/// day. Bedrock and MCP have no words for it.
pub(crate) fn tell(headers: &mut HeaderMap, dialect: Dialect, standing: &Standing, unix: Duration) {
    if *standing == Standing::default() {
        return;
    }
    let foreign = |name: &str| name.starts_with("x-ratelimit-") || name.starts_with("anthropic-ratelimit-");
    let foreign: Vec<HeaderName> = headers.keys().filter(|name| foreign(name.as_str())).cloned().collect();
    for name in foreign {
        headers.remove(name);
    }
    let levels = [("requests", standing.requests), ("tokens", standing.tokens)];
    for (unit, level) in levels.into_iter().filter_map(|(unit, level)| Some((unit, level?))) {
        for (name, value) in words(dialect, unit, level, unix).into_iter().flatten() {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                headers.insert(name, value);
            }
        }
    }
}

fn words(dialect: Dialect, unit: &str, level: Level, now: Duration) -> Option<[(String, String); 3]> {
    let figures =
        |reset| [("limit", level.limit.to_string()), ("remaining", level.remaining.to_string()), reset];
    match dialect {
        Dialect::OpenAi => Some(
            figures(("reset", span(level.reset)))
                .map(|(what, value)| (format!("x-ratelimit-{what}-{unit}"), value)),
        ),
        Dialect::Anthropic => Some(
            figures(("reset", moment(now.saturating_add(level.reset))))
                .map(|(what, value)| (format!("anthropic-ratelimit-{unit}-{what}"), value)),
        ),
        Dialect::Bedrock | Dialect::Mcp => None,
    }
}

/// `0s`, `6ms`, `2s`, `1m30s`, `1h0m5s`, as OpenAI writes it; rounded up.
fn span(time: Duration) -> String {
    let ms = u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    if ms % 1000 > 0 && ms < 1000 {
        return format!("{ms}ms");
    }
    let seconds = ms.div_ceil(1000);
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

/// RFC 3339, as Anthropic writes it; rounded up to a second. What jiff cannot date is its last moment.
fn moment(unix: Duration) -> String {
    let seconds = unix.as_secs().saturating_add(u64::from(unix.subsec_nanos() > 0));
    let at = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    let last = Timestamp::from_second(Timestamp::MAX.as_second()).unwrap_or(Timestamp::MAX);
    at.unwrap_or(last).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(limit: u64, remaining: u64, reset_ms: u64) -> Level {
        Level { limit, remaining, reset: Duration::from_millis(reset_ms) }
    }

    #[test]
    fn each_dialect_has_its_words_and_the_upstreams_are_gone() {
        let unix = Duration::from_millis(1_795_500_000_400);
        let standing =
            Standing { requests: Some(level(600, 599, 100)), tokens: Some(level(2_000, 0, 90_000)) };
        for (dialect, expected) in [
            (
                Dialect::OpenAi,
                "x-ratelimit-limit-requests: 600, x-ratelimit-limit-tokens: 2000, \
                 x-ratelimit-remaining-requests: 599, x-ratelimit-remaining-tokens: 0, \
                 x-ratelimit-reset-requests: 100ms, x-ratelimit-reset-tokens: 1m30s",
            ),
            (
                Dialect::Anthropic,
                "anthropic-ratelimit-requests-limit: 600, anthropic-ratelimit-requests-remaining: 599, \
                 anthropic-ratelimit-requests-reset: 2026-11-24T06:00:01Z, \
                 anthropic-ratelimit-tokens-limit: 2000, anthropic-ratelimit-tokens-remaining: 0, \
                 anthropic-ratelimit-tokens-reset: 2026-11-24T06:01:31Z",
            ),
            (Dialect::Bedrock, ""),
            (Dialect::Mcp, ""),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-ratelimit-limit-tokens", HeaderValue::from_static("7"));
            headers.insert("anthropic-ratelimit-input-tokens-limit", HeaderValue::from_static("7"));
            tell(&mut headers, dialect, &standing, unix);
            let mut told: Vec<String> =
                headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
            told.sort();
            assert_eq!(told.join(", "), expected);
        }
        let mut headers = HeaderMap::new();
        headers.insert("x-ratelimit-limit-tokens", HeaderValue::from_static("7"));
        tell(&mut headers, Dialect::OpenAi, &Standing::default(), unix);
        assert_eq!(headers.len(), 1, "where no row of ours applies the upstream's pass");
    }

    #[test]
    fn times_are_rounded_up() {
        for (ms, expected, seconds) in [
            (0, "0s", 1),
            (6, "6ms", 1),
            (999, "999ms", 1),
            (1000, "1s", 1),
            (1001, "2s", 2),
            (3_605_000, "1h0m5s", 3605),
        ] {
            let time = Duration::from_millis(ms);
            assert_eq!((span(time).as_str(), whole_seconds(time)), (expected, seconds));
        }
        assert_eq!(span(Duration::from_micros(1)), "1ms");
        assert_eq!(moment(Duration::MAX), "9999-12-30T22:00:00Z");
    }
}
