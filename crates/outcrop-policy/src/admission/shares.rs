//! Shares: what part of the slots each class of priorities is sure of.
//!
//! A share is kept from the classes below, whether it is used or not; the classes above may take it while
//! they need it. So idle shares are borrowed upward only: a class can have all slots but the unused shares of
//! the classes above it.

use outcrop_core::Priority;

/// Priorities that have a share together. Ordered: `Emergency` is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// `low`.
    Low,
    /// `medium` and `high`.
    Standard,
    /// `critical`.
    Critical,
    /// `emergency`.
    Emergency,
}

/// All classes, the last served first.
pub const CLASSES: [Class; 4] = [Class::Low, Class::Standard, Class::Critical, Class::Emergency];

impl Class {
    /// The class of a priority.
    pub fn of(priority: Priority) -> Self {
        match priority {
            Priority::Low => Self::Low,
            Priority::Medium | Priority::High => Self::Standard,
            Priority::Critical => Self::Critical,
            Priority::Emergency => Self::Emergency,
        }
    }
}

/// The share of each class in percent of the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    emergency: u8,
    critical: u8,
    standard: u8,
    low: u8,
}

/// Shares that are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotShares {
    /// The sum is not the whole.
    #[error("the shares are {0} % together; they must be 100 %")]
    NotWhole(u32),
    /// Low would never be served.
    #[error("the share of `low` must be at least 1 %: it can borrow from nobody")]
    NoLow,
}

impl Default for Shares {
    fn default() -> Self {
        Self { emergency: 10, critical: 30, standard: 50, low: 10 }
    }
}

impl Shares {
    /// Shares in percent, from the highest class to the lowest; together 100.
    pub fn new([emergency, critical, standard, low]: [u8; 4]) -> Result<Self, NotShares> {
        let sum = [emergency, critical, standard, low].into_iter().map(u32::from).sum();
        if sum != 100 {
            return Err(NotShares::NotWhole(sum));
        }
        if low == 0 {
            return Err(NotShares::NoLow);
        }
        Ok(Self { emergency, critical, standard, low })
    }

    /// The share of a class in percent.
    pub fn percent(&self, class: Class) -> u8 {
        match class {
            Class::Low => self.low,
            Class::Standard => self.standard,
            Class::Critical => self.critical,
            Class::Emergency => self.emergency,
        }
    }

    /// Slots that are kept from the classes below, rounded down: of a small limit something is left for
    /// everybody.
    pub fn reserve(&self, class: Class, limit: usize) -> usize {
        limit.saturating_mul(usize::from(self.percent(class))) / 100
    }
}
