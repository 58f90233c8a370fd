//! Rate limits: how many requests and tokens may pass in a time, per scope.
//!
//! Each instance of a row's scope has a bucket (GCRA). Requests are taken from it when they are
//! admitted, by all rows that speak of them or by none. What a request will use of tokens is not known
//! before its end, so tokens are taken then, into debt if need be, and nothing is admitted until the
//! debt is paid. The limits are of this process alone and begin full. It does not wait, queue or shape.

mod row;
mod spec;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

pub use spec::{Limited, NotARate, RateSpec};

use self::row::{Row, Turned};
use crate::scope::{Attribution, Facet};

/// Most instances that one row watches; beyond them a new one is refused (I-6).
pub const INSTANCES_MAX: usize = 100_000;
/// When a new instance that found no room may come again.
const ROOM_AFTER: Duration = Duration::from_secs(1);

/// The rows in force and their state.
#[derive(Debug)]
pub struct Rates {
    epoch: Instant,
    // A sync mutex: held for a few map look-ups, so that all rows decide at one moment; never across
    // an await (I-5).
    rows: Mutex<Vec<Row>>,
}

/// What is left in one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// What it holds when it is full.
    pub limit: u64,
    /// What it holds; 0 in debt.
    pub remaining: u64,
    /// Time until it is full.
    pub reset: Duration,
}

/// The tightest bucket of each kind among those that a request falls into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Of requests.
    pub requests: Option<Level>,
    /// Of tokens.
    pub tokens: Option<Level>,
}

/// Why a request is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// The bucket is empty, or in debt.
    UsedUp(Limited),
    /// The row watches as many instances as it may, and this would be a new one.
    Crowded,
}

/// A request that a row turned away; nothing was taken from any row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateRefusal {
    /// The instance of the row's scope; the scope itself where there was no room for the instance.
    pub scope: String,
    /// The kinds of scope that the row joins, from a set that the configuration bounds: `key+model`.
    pub scope_kind: Arc<str>,
    /// The limit as it is written.
    pub limit: String,
    /// Why.
    pub kind: RefusalKind,
    /// When the same request would pass, if no other came.
    pub retry_after: Duration,
    /// What is left.
    pub standing: Standing,
}

/// A row that speaks of a request: its index and the instance.
type Matched = SmallVec<[(usize, String); 4]>;

impl Rates {
    /// No rows; `epoch` is not later than any `now` to come.
    pub fn new(epoch: Instant) -> Self {
        Self { epoch, rows: Mutex::default() }
    }

    /// Puts rows in force. One that was in force before keeps its state; one that changed begins full.
    pub fn enforce(&self, specs: &[RateSpec]) {
        let mut rows = self.rows();
        let mut before = std::mem::take(&mut *rows);
        let kept = |spec: &RateSpec| {
            let position = before.iter().position(|row| row.spec == *spec);
            position.map_or_else(|| Row::new(spec.clone()), |index| before.swap_remove(index))
        };
        *rows = specs.iter().map(kept).collect();
    }

    /// Takes one request from every row that speaks of it, or from none.
    pub fn admit(&self, whose: &Attribution, now: Instant) -> Result<Standing, Box<RateRefusal>> {
        let (mut rows, now) = (self.rows(), self.nanos(now));
        let matched = matched(&rows, whose, |_| true);
        let after = try_all(&mut rows, &matched, now)?;
        for ((index, instance), full_at) in matched.iter().zip(after) {
            if let Some(row) = rows.get_mut(*index).filter(|row| row.spec.limit == Limited::Requests) {
                row.put(instance.clone(), full_at);
            }
        }
        Ok(standing(&rows, &matched, now))
    }

    /// Whether the rows that do not look at the model would turn a request away; takes nothing. For a
    /// refusal before the request is read.
    pub fn foresee(&self, whose: &Attribution, now: Instant) -> Result<(), Box<RateRefusal>> {
        let (mut rows, now) = (self.rows(), self.nanos(now));
        let matched = matched(&rows, whose, |row| !row.spec.scope.facets().any(|f| f == Facet::Model));
        try_all(&mut rows, &matched, now).map(|_| ())
    }

    /// Takes the tokens that an exchange used.
    pub fn charge(&self, whose: &Attribution, tokens: u64, now: Instant) {
        if tokens == 0 {
            return;
        }
        let (mut rows, now) = (self.rows(), self.nanos(now));
        for row in rows.iter_mut().filter(|row| row.spec.limit == Limited::Tokens) {
            if row.spec.scope.matches(whose) {
                let instance = row.instance(whose);
                row.charge(instance, tokens, now);
            }
        }
    }

    /// What is left for such a request.
    pub fn standing(&self, whose: &Attribution, now: Instant) -> Standing {
        let (rows, now) = (self.rows(), self.nanos(now));
        let matched = matched(&rows, whose, |_| true);
        standing(&rows, &matched, now)
    }

    fn rows(&self) -> MutexGuard<'_, Vec<Row>> {
        self.rows.lock()
    }

    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX / 2)
    }
}

fn matched(rows: &[Row], whose: &Attribution, may: impl Fn(&Row) -> bool) -> Matched {
    let speaking = rows.iter().enumerate().filter(|(_, row)| may(row) && row.spec.scope.matches(whose));
    speaking.map(|(index, row)| (index, row.instance(whose))).collect()
}

/// The states in which the rows would be, or the refusal with the longest wait.
fn try_all(rows: &mut [Row], matched: &Matched, now: u64) -> Result<SmallVec<[u64; 4]>, Box<RateRefusal>> {
    let mut after = SmallVec::new();
    let mut longest: Option<(usize, Duration, RefusalKind)> = None;
    for (place, (index, instance)) in matched.iter().enumerate() {
        let Some(row) = rows.get_mut(*index) else { continue };
        let (wait, kind) = match row.test(instance, now) {
            Ok(full_at) => {
                after.push(full_at);
                continue;
            }
            Err(Turned::Away(wait)) => (wait, RefusalKind::UsedUp(row.spec.limit)),
            Err(Turned::Crowded) => (ROOM_AFTER, RefusalKind::Crowded),
        };
        if longest.is_none_or(|(_, before, _)| wait > before) {
            longest = Some((place, wait, kind));
        }
    }
    let Some((place, retry_after, kind)) = longest else { return Ok(after) };
    let Some((row, instance)) = matched.get(place).and_then(|(n, i)| Some((rows.get(*n)?, i))) else {
        return Ok(after);
    };
    Err(Box::new(RateRefusal {
        scope: name(row, instance, kind),
        scope_kind: Arc::clone(&row.scope_kind),
        limit: row.spec.to_string(),
        kind,
        retry_after,
        standing: standing(rows, matched, now),
    }))
}

fn name(row: &Row, instance: &str, kind: RefusalKind) -> String {
    match kind {
        RefusalKind::UsedUp(_) if !instance.is_empty() => instance.to_owned(),
        RefusalKind::UsedUp(_) | RefusalKind::Crowded => row.spec.scope.to_string(),
    }
}

fn standing(rows: &[Row], matched: &Matched, now: u64) -> Standing {
    let mut standing = Standing::default();
    for (index, instance) in matched {
        let Some(row) = rows.get(*index) else { continue };
        let place = match row.spec.limit {
            Limited::Requests => &mut standing.requests,
            Limited::Tokens => &mut standing.tokens,
        };
        let level = row.level(instance, now);
        if place.is_none_or(|before| level.is_tighter_than(&before)) {
            *place = Some(level);
        }
    }
    standing
}

impl Level {
    /// Whether a smaller share of it is left; of two that are equal, the one that takes longer to fill.
    fn is_tighter_than(&self, other: &Self) -> bool {
        let own = u128::from(self.remaining).saturating_mul(u128::from(other.limit));
        let others = u128::from(other.remaining).saturating_mul(u128::from(self.limit));
        (own, other.reset) < (others, self.reset)
    }
}
