//! What is left of an upstream's own limit on tokens, before it says 429.
//!
//! Amazon Bedrock takes input and `max_tokens` from the quota when a request starts, and gives back at its
//! end what was not used; output of some models burns several tokens each
//! (docs.aws.amazon.com/bedrock/latest/userguide/quotas-token-burndown.html). The quota fills evenly over
//! the minute.

use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_mins(1);

/// An upstream's limit, as the operator states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaSpec {
    /// Tokens per minute.
    pub tokens_per_minute: u64,
    /// Tokens that one output token takes.
    pub output_burndown: u32,
}

/// How much of a quota is used now.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Quota {
    // Tokens that are taken and have not flown off.
    used: f64,
    at: Option<Instant>,
}

impl Quota {
    /// Takes what a request may use.
    pub(super) fn take(&mut self, spec: QuotaSpec, tokens: u64, now: Instant) {
        self.flow(spec, now);
        self.used += tokens as f64;
    }

    /// Gives back what it did not use.
    pub(super) fn give_back(&mut self, spec: QuotaSpec, tokens: u64, now: Instant) {
        self.flow(spec, now);
        self.used = (self.used - tokens as f64).max(0.0);
    }

    /// The upstream said 429: it is as good as used up.
    pub(super) fn is_full(&mut self, spec: QuotaSpec, now: Instant) {
        self.flow(spec, now);
        self.used = self.used.max(spec.tokens_per_minute as f64);
    }

    /// Share that is left, in thousandths.
    #[allow(clippy::cast_sign_loss, reason = "clamped to what is positive")]
    pub(super) fn left_permille(&self, spec: QuotaSpec, now: Instant) -> u16 {
        let left = 1.0 - self.used_at(spec, now) / (spec.tokens_per_minute.max(1) as f64);
        (left.clamp(0.0, 1.0) * 1000.0) as u16
    }

    fn flow(&mut self, spec: QuotaSpec, now: Instant) {
        self.used = self.used_at(spec, now);
        self.at = Some(now);
    }

    fn used_at(&self, spec: QuotaSpec, now: Instant) -> f64 {
        let passed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let flown = spec.tokens_per_minute as f64 * passed.as_secs_f64() / MINUTE.as_secs_f64();
        (self.used - flown).max(0.0)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests need some instant to start from")]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_flows_off_over_the_minute_and_the_unused_comes_back() {
        let spec = QuotaSpec { tokens_per_minute: 6000, output_burndown: 5 };
        let (mut quota, start) = (Quota::default(), Instant::now());
        quota.take(spec, 3000, start);
        assert_eq!(quota.left_permille(spec, start), 500);
        assert_eq!(quota.left_permille(spec, start + Duration::from_secs(10)), 666);
        quota.give_back(spec, 1800, start);
        assert_eq!(quota.left_permille(spec, start), 800);
        quota.is_full(spec, start);
        assert_eq!(quota.left_permille(spec, start), 0);
        assert_eq!(quota.left_permille(spec, start + MINUTE), 1000);
    }
}
