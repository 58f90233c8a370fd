//! Tokens per minute, the way Bedrock throttles.
//!
//! A request takes `input + max_tokens` from the bucket before it runs; when it ends, the difference to its real
//! use is given back (or taken). Output may burn several quota tokens each. The bucket refills evenly.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;

/// Models whose buckets are kept; the models known to the lab are far fewer.
const BUCKETS_MAX: usize = 256;

/// The buckets of one target, one per model.
#[derive(Debug, Default)]
pub struct Quota {
    buckets: Arc<Mutex<HashMap<String, Bucket>>>,
}

/// Quota taken up front; hand it back with [`Reservation::settle`].
#[derive(Debug)]
pub struct Reservation {
    buckets: Arc<Mutex<HashMap<String, Bucket>>>,
    model: String,
    taken: u64,
    burn_down: u64,
}

#[derive(Debug)]
struct Bucket {
    /// Below zero after a request that used more than it had reserved.
    level: f64,
    at: SystemTime,
}

/// The bucket does not hold enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many tokens")]
pub struct Exhausted {
    /// Until the bucket holds enough, at most a minute.
    pub wait: Duration,
}

impl Quota {
    /// Takes tokens from a model's bucket, or tells how long to wait.
    ///
    /// `burn_down` is the quota one output token uses up when the reservation settles.
    pub fn reserve(
        &self,
        model: &str,
        tpm: u64,
        tokens: u64,
        burn_down: u64,
        now: SystemTime,
    ) -> Result<Reservation, Exhausted> {
        let mut buckets = self.buckets.lock();
        if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(model) {
            buckets.clear();
        }
        let limit = tpm as f64;
        let bucket = buckets.entry(model.to_owned()).or_insert(Bucket { level: limit, at: now });
        let passed = now.duration_since(bucket.at).unwrap_or_default();
        bucket.level = (bucket.level + limit * passed.as_secs_f64() / 60.0).min(limit);
        bucket.at = now;
        let wanted = tokens as f64;
        if bucket.level < wanted {
            let wait_s = ((wanted - bucket.level) * 60.0 / limit.max(1.0)).min(60.0);
            return Err(Exhausted { wait: Duration::from_secs_f64(wait_s) });
        }
        bucket.level -= wanted;
        Ok(Reservation {
            buckets: Arc::clone(&self.buckets),
            model: model.to_owned(),
            taken: tokens,
            burn_down,
        })
    }

    /// Fills all buckets.
    pub fn clear(&self) {
        self.buckets.lock().clear();
    }
}

impl Reservation {
    /// Corrects the bucket to the real use.
    pub fn settle(self, input_tokens: u64, output_tokens: u64) {
        let used = input_tokens + output_tokens * self.burn_down;
        if let Some(bucket) = self.buckets.lock().get_mut(&self.model) {
            bucket.level += self.taken as f64 - used as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::time::{Duration, UNIX_EPOCH};

    use super::Quota;

    #[test]
    fn reserves_up_front_and_settles_the_real_use() {
        let quota = Quota::default();
        let start = UNIX_EPOCH;
        let first = quota.reserve("claude", 1_000, 900, 5, start).unwrap();
        assert!(quota.reserve("claude", 1_000, 200, 5, start).is_err());
        // 100 in, 20 out at 5 each: 200 used, 700 come back.
        first.settle(100, 20);
        quota.reserve("claude", 1_000, 800, 5, start).unwrap();
        let wait = quota.reserve("claude", 1_000, 500, 5, start).unwrap_err().wait;
        assert_eq!(wait, Duration::from_secs(30));
        quota.reserve("claude", 1_000, 500, 5, start + wait).unwrap();
    }

    #[test]
    fn models_do_not_share_a_bucket() {
        let quota = Quota::default();
        let _all = quota.reserve("a", 10, 10, 1, UNIX_EPOCH).unwrap();
        quota.reserve("b", 10, 10, 1, UNIX_EPOCH).unwrap();
    }
}
