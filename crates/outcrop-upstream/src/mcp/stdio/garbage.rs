//! How much garbage a child has sent, and when to say so.
//!
//! A child can send hundreds of lines in a second, so the log hears of the first in a window and of the one
//! that is too many. Of the lines themselves it hears nothing: they may hold anything.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// More lines of garbage than this within the window put a child into quarantine.
const LINES_MAX: usize = 20;
const WINDOW: Duration = Duration::from_secs(10);

/// Lines of garbage within the window.
#[derive(Debug, Default)]
pub(super) struct Garbage {
    seen: VecDeque<Instant>,
    told: Option<Instant>,
}

/// What follows from one more line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is skipped, and the log hears of it.
    Told,
    /// It is skipped.
    Skipped,
    /// It was one too many.
    TooMany,
}

impl Garbage {
    /// One more line.
    pub(super) fn note(&mut self, now: Instant) -> Verdict {
        self.seen.retain(|seen| now.duration_since(*seen) < WINDOW);
        self.seen.push_back(now);
        if self.seen.len() > LINES_MAX {
            return Verdict::TooMany;
        }
        if self.told.is_some_and(|told| now.duration_since(told) < WINDOW) {
            return Verdict::Skipped;
        }
        self.told = Some(now);
        Verdict::Told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_hears_of_one_line_in_a_window_and_of_the_last() {
        let (mut garbage, start) = (Garbage::default(), Instant::now());
        let mut verdicts: Vec<Verdict> = (0..LINES_MAX).map(|_| garbage.note(start)).collect();
        assert_eq!(verdicts.remove(0), Verdict::Told);
        assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Skipped));
        assert_eq!(garbage.note(start), Verdict::TooMany);
        // A line a second is no quarantine, and one line of the log in ten seconds.
        let mut slow = Garbage::default();
        let told = (0..100).filter(|n| slow.note(start + Duration::from_secs(*n)) == Verdict::Told).count();
        assert_eq!(told, 10);
    }
}
