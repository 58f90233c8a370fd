//! The memory ladder: what is given up as memory runs out, in which order.
//!
//! A rung is stepped on at once when its mark is reached, and left when the reading is some points below
//! the mark, so that a reading at a mark does not flap between two behaviours.

use outcrop_core::Priority;
use serde::Serialize;

/// Points below its mark at which a rung is left.
const POINTS_BELOW: u8 = 3;

/// How short memory is. Ordered: `Critical` is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// Not at all.
    #[default]
    Normal,
    /// No optional work: no hedging, no answer is read on after its caller left.
    Lean,
    /// `low` and `medium` are shed as well.
    Short,
    /// Everything but `critical` and `emergency` is shed.
    Critical,
}

impl Rung {
    /// Whether requests of a priority are served.
    pub fn serves(self, priority: Priority) -> bool {
        match self {
            Self::Normal | Self::Lean => true,
            Self::Short => priority >= Priority::High,
            Self::Critical => priority >= Priority::Critical,
        }
    }

    /// Whether work is done that nobody waits for.
    pub fn allows_optional_work(self) -> bool {
        self == Self::Normal
    }

    /// The bounded metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Lean => "lean",
            Self::Short => "short",
            Self::Critical => "critical",
        }
    }
}

/// At what percent of the memory each rung is stepped on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    lean: u8,
    short: u8,
    critical: u8,
}

/// Marks that do not rise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the marks must rise, be above {POINTS_BELOW} and at most 100")]
pub struct NotALadder;

impl Default for Marks {
    fn default() -> Self {
        Self { lean: 85, short: 92, critical: 95 }
    }
}

impl Marks {
    /// Marks in percent, from the lowest rung to the highest.
    pub fn new([lean, short, critical]: [u8; 3]) -> Result<Self, NotALadder> {
        let rises = lean > POINTS_BELOW && lean < short && short < critical && critical <= 100;
        if rises { Ok(Self { lean, short, critical }) } else { Err(NotALadder) }
    }

    /// The highest rung whose mark, `points` lowered, is reached.
    fn rung(self, used: u64, max: u64, points: u8) -> Rung {
        let reached =
            |mark: u8| u128::from(used) * 100 >= u128::from(max) * u128::from(mark.saturating_sub(points));
        let rungs = [(Rung::Critical, self.critical), (Rung::Short, self.short), (Rung::Lean, self.lean)];
        rungs.into_iter().find(|(_, mark)| reached(*mark)).map_or(Rung::Normal, |(rung, _)| rung)
    }
}

/// Where on the ladder the process stands.
#[derive(Debug, Clone, Copy)]
pub struct Ladder {
    marks: Marks,
    rung: Rung,
}

impl Ladder {
    /// At its foot.
    pub fn new(marks: Marks) -> Self {
        Self { marks, rung: Rung::Normal }
    }

    /// Hears that `used` of `max` bytes are in use; the rung from here on.
    pub fn hear(&mut self, used: u64, max: u64) -> Rung {
        let up = self.marks.rung(used, max, 0);
        let down = self.marks.rung(used, max, POINTS_BELOW);
        self.rung = up.max(self.rung.min(down));
        self.rung
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rung_is_stepped_on_at_its_mark_and_left_three_points_below() {
        let mut ladder = Ladder::new(Marks::default());
        for (used, expected) in [
            (84, Rung::Normal),
            (85, Rung::Lean),
            (83, Rung::Lean),
            (82, Rung::Lean),
            (81, Rung::Normal),
            (92, Rung::Short),
            (89, Rung::Short),
            (88, Rung::Lean),
            (95, Rung::Critical),
            (92, Rung::Critical),
            (91, Rung::Short),
            (100, Rung::Critical),
            (10, Rung::Normal),
            (120, Rung::Critical),
        ] {
            assert_eq!(ladder.hear(used, 100), expected, "{used} %");
        }
    }

    #[test]
    fn each_rung_gives_up_more_than_the_one_below() {
        let served = |rung: Rung| super::super::PRIORITIES.map(|p| rung.serves(p));
        assert_eq!(served(Rung::Lean), [true; 5]);
        assert_eq!(served(Rung::Short), [true, true, true, false, false]);
        assert_eq!(served(Rung::Critical), [true, true, false, false, false]);
        assert!(Rung::Normal.allows_optional_work() && !Rung::Lean.allows_optional_work());
    }

    #[test]
    fn marks_must_rise() {
        for marks in [[92, 85, 95], [85, 85, 95], [85, 92, 101], [3, 92, 95]] {
            assert_eq!(Marks::new(marks), Err(NotALadder), "{marks:?}");
        }
        assert_eq!(Marks::new([85, 92, 95]), Ok(Marks::default()));
    }
}
