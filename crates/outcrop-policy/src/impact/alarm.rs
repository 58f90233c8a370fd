//! One resource's alarm: raised by what lasts, cleared by what has passed, so that it does not flap.

use serde::Serialize;

use super::Resource;

/// Readings in a row that must be too much.
pub(super) const RAISED_AFTER: u8 = 3;
/// Readings in a row that must be well below before it is cleared.
pub(super) const CLEARED_AFTER: u8 = 15;
/// Well below: this share of the threshold.
const CLEARED_BELOW: f64 = 0.8;

/// An alarm that was raised or cleared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Change {
    /// Of which resource.
    pub resource: Resource,
    /// Raised, or cleared.
    pub raised: bool,
    /// Its share at that moment.
    pub percent: Option<f64>,
    /// From how many percent on it alarms.
    pub alarm_percent: u8,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Alarm {
    raised: bool,
    // Readings in a row that speak for the other state.
    against: u8,
}

impl Alarm {
    pub(super) fn is_raised(self) -> bool {
        self.raised
    }

    /// Hears a share in percent; nothing known is nothing in use. What it changes to.
    pub(super) fn hear(&mut self, percent: Option<f64>, threshold: u8) -> Option<bool> {
        let (percent, threshold) = (percent.unwrap_or(0.0), f64::from(threshold));
        let speaks_against =
            if self.raised { percent < threshold * CLEARED_BELOW } else { percent >= threshold };
        self.against = if speaks_against { self.against + 1 } else { 0 };
        let needed = if self.raised { CLEARED_AFTER } else { RAISED_AFTER };
        (self.against >= needed).then(|| {
            self.raised = !self.raised;
            self.against = 0;
            self.raised
        })
    }
}
