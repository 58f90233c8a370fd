//! At which rate this machine saturates, from what its windows have cost.
//!
//! CPU time is taken to be a constant part and one that grows with the requests. Where the windows had
//! different rates, the growth is the median of the slopes between them (Theil and Sen), which a few odd
//! windows do not move; else it is what a request has cost in all, idle work included, which is too much
//! rather than too little. Everything else is counted by what an exchange holds while it lasts (Little).

use std::time::Duration;

use serde::Serialize;

use super::Reading;

/// Fewest windows with traffic.
const WINDOWS_MIN: usize = 6;
/// Fewest requests in one of them.
const REQUESTS_MIN: u64 = 50;
/// Most windows that are compared with each other, the newest.
const COMPARED_MAX: usize = 60;
/// Share of the cores that can be used before waits grow steeply.
pub(super) const CORES_USABLE: f64 = 0.85;
/// Share of the memory and of the descriptors.
const SPACE_USABLE: f64 = 0.85;
/// Files that an exchange holds open: its caller's connection and its upstream's.
const FILES_EACH: f64 = 2.0;
/// Fewest exchanges at once between two windows whose memory is compared.
const APART_MIN: f64 = 10.0;
/// So many times the highest rate that was seen is far: what a request costs there is less.
const FAR: f64 = 5.0;
/// Up to so many times the highest rate that was seen is near.
const NEAR: f64 = 3.0;
/// Width of the quarters, as a share of the middle, up to which the windows agree.
const AGREE: f64 = 0.3;

/// At which rate this machine saturates.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Forecast {
    /// Not enough traffic to tell.
    TooLittle {
        /// Windows with enough requests.
        windows: usize,
        /// How many there must be.
        needed: usize,
    },
    /// It can be told.
    Known {
        /// What saturates first.
        limited_by: &'static str,
        /// Requests a second at which it does.
        requests_per_s: f64,
        /// Requests a second in the newest window.
        now_per_s: f64,
        /// CPU microseconds that a request costs.
        cpu_us_per_request: f64,
        /// Whether the true rate is this or more: a steady rate hides what is used without any request, and
        /// far below saturation a request costs more than near it.
        at_least: bool,
        /// How far to trust it.
        confidence: Confidence,
        /// `slope` between windows of different rates, or `ratio` where the rate was steady.
        method: &'static str,
        /// Windows that were compared.
        windows: usize,
        /// Everything that could be counted, the lowest first.
        ceilings: Vec<Ceiling>,
    },
}

/// What one resource allows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ceiling {
    /// `cpu`, `memory`, `descriptors`, `slots`.
    pub resource: &'static str,
    /// Requests a second.
    pub requests_per_s: f64,
    /// By the dearer quarter of the windows.
    pub low: f64,
    /// By the cheaper quarter; `None` where the rate is this or more.
    pub high: Option<f64>,
}

/// How far a forecast can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// A lower bound, or the windows differ by more than the forecast itself.
    Low,
    /// In between.
    Medium,
    /// The windows agree, and one of them was at a third of it or more.
    High,
}

/// A middle value and the quarters around it.
#[derive(Debug, Clone, Copy)]
struct Quartiles {
    low: f64,
    middle: f64,
    high: f64,
}

/// What one window came to.
#[derive(Debug, Clone, Copy)]
struct Window {
    rate: f64,
    cores_used: f64,
    time_each: f64,
    in_flight: f64,
    memory: f64,
}

pub(super) fn of(readings: &[Reading]) -> Forecast {
    let windows = windows(readings);
    let too_little = Forecast::TooLittle { windows: windows.len(), needed: WINDOWS_MIN };
    let (Some(newest), Some(last)) = (readings.last(), windows.last()) else { return too_little };
    let Some((per_request, idle, method)) = cpu(&windows).filter(|_| windows.len() >= WINDOWS_MIN) else {
        return too_little;
    };
    let most = windows.iter().map(|w| w.rate).fold(0.0, f64::max);
    let usable = newest.cores * CORES_USABLE - idle;
    let requests_per_s = usable / per_request.middle;
    let is_bound = method == "ratio" || requests_per_s > FAR * most;
    let cpu = Ceiling {
        resource: "cpu",
        requests_per_s,
        low: usable / per_request.high,
        high: (!is_bound).then_some(usable / per_request.low),
    };
    let mut ceilings = vec![cpu];
    ceilings.extend(held(&windows, newest));
    ceilings.retain(|ceiling| ceiling.requests_per_s.is_finite() && ceiling.requests_per_s > 0.0);
    ceilings.sort_by(|a, b| a.requests_per_s.total_cmp(&b.requests_per_s));
    let Some(first) = ceilings.first() else { return too_little };
    Forecast::Known {
        limited_by: first.resource,
        requests_per_s: first.requests_per_s,
        now_per_s: last.rate,
        cpu_us_per_request: per_request.middle * 1e6,
        at_least: first.high.is_none(),
        confidence: first.confidence(most),
        method,
        windows: windows.len(),
        ceilings,
    }
}

/// The newest windows that had enough requests.
fn windows(readings: &[Reading]) -> Vec<Window> {
    let pairs = readings.iter().zip(readings.iter().skip(1));
    let all: Vec<Window> = pairs.filter_map(|(from, to)| Window::between(from, to)).collect();
    all.get(all.len().saturating_sub(COMPARED_MAX)..).unwrap_or_default().to_vec()
}

impl Ceiling {
    /// How far to trust it, where the highest rate that was seen is `most`.
    fn confidence(&self, most: f64) -> Confidence {
        let Some(high) = self.high else { return Confidence::Low };
        let width = (high - self.low) / self.requests_per_s;
        match (width <= AGREE, self.requests_per_s <= NEAR * most) {
            _ if width > 1.0 => Confidence::Low,
            (true, true) => Confidence::High,
            _ => Confidence::Medium,
        }
    }
}

impl Window {
    fn between(from: &Reading, to: &Reading) -> Option<Self> {
        let requests = to.answered.saturating_sub(from.answered);
        let seconds = to.at.saturating_sub(from.at).as_secs_f64();
        let of = |later: Duration, earlier: Duration| later.saturating_sub(earlier).as_secs_f64();
        (requests >= REQUESTS_MIN && seconds > 0.0).then(|| Self {
            rate: requests as f64 / seconds,
            cores_used: of(to.cpu, from.cpu) / seconds,
            time_each: of(to.total, from.total) / requests as f64,
            in_flight: to.slots.used as f64,
            memory: to.memory.used as f64,
        })
    }
}

/// CPU seconds that a request costs, and the cores that are used without any.
fn cpu(windows: &[Window]) -> Option<(Quartiles, f64, &'static str)> {
    let most = windows.iter().map(|w| w.rate).fold(0.0, f64::max);
    let least = windows.iter().map(|w| w.rate).fold(f64::INFINITY, f64::min);
    if most >= 2.0 * least {
        let points: Vec<_> = windows.iter().map(|w| (w.rate, w.cores_used)).collect();
        // A growth that is not one in a quarter of the pairs is noise.
        if let Some(slope) = slope(&points, most / 5.0).filter(|slope| slope.low > 0.0) {
            let idle = windows.iter().map(|w| w.cores_used - slope.middle * w.rate);
            return Some((slope, quartiles(idle.collect())?.middle.max(0.0), "slope"));
        }
    }
    let each = quartiles(windows.iter().map(|w| w.cores_used / w.rate).collect())?;
    (each.low > 0.0).then_some((each, 0.0, "ratio"))
}

/// What exchanges hold while they last.
fn held(windows: &[Window], newest: &Reading) -> Vec<Ceiling> {
    let Some(time) = quartiles(windows.iter().map(|w| w.time_each).collect()) else { return Vec::new() };
    let ceiling = |resource, at_once: f64| Ceiling {
        resource,
        requests_per_s: at_once / time.middle,
        low: at_once / time.high,
        high: Some(at_once / time.low),
    };
    let mut ceilings = Vec::new();
    if newest.slots.max > 0 {
        ceilings.push(ceiling("slots", newest.slots.max as f64));
    }
    if newest.descriptors.max > 0 {
        let others = newest.descriptors.used as f64 - FILES_EACH * newest.slots.used as f64;
        let free = newest.descriptors.max as f64 * SPACE_USABLE - others.max(0.0);
        ceilings.push(ceiling("descriptors", free / FILES_EACH));
    }
    let points: Vec<_> = windows.iter().map(|w| (w.in_flight, w.memory)).collect();
    let each = slope(&points, APART_MIN).filter(|each| each.low > 0.0);
    if let Some(each) = each.filter(|_| newest.memory.max > 0) {
        let others = newest.memory.used as f64 - each.middle * newest.slots.used as f64;
        let free = newest.memory.max as f64 * SPACE_USABLE - others.max(0.0);
        ceilings.push(ceiling("memory", free / each.middle));
    }
    ceilings
}

/// The slopes between all points that are far enough apart.
fn slope(points: &[(f64, f64)], apart: f64) -> Option<Quartiles> {
    let mut slopes = Vec::new();
    for (at, (x, y)) in points.iter().enumerate() {
        let others = points.iter().skip(at + 1).filter(|(other, _)| (other - x).abs() >= apart);
        slopes.extend(others.map(|(other_x, other_y)| (other_y - y) / (other_x - x)));
    }
    quartiles(slopes)
}

fn quartiles(mut values: Vec<f64>) -> Option<Quartiles> {
    values.sort_by(f64::total_cmp);
    let at = |quarter: usize| values.get((values.len().checked_sub(1)?) * quarter / 4).copied();
    Some(Quartiles { low: at(1)?, middle: at(2)?, high: at(3)? })
}
