//! The least that an upstream must send while it is waited for.
//!
//! A stream that drips, a byte before each stall limit, would live to its total cap. Time counts only while
//! the gateway waits for the upstream, and bytes when they come from it: a slow reader stops both, so that
//! it cannot be taken for a slow upstream. It reads no clock.

use std::time::Duration;

/// The floor: so many bytes within so much waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// Bytes.
    pub bytes: u64,
    /// Time spent waiting for the upstream.
    pub window: Duration,
}

impl Default for Floor {
    fn default() -> Self {
        Self { bytes: 64, window: Duration::from_secs(30) }
    }
}

/// What an item counts that has no bytes of its own, as those of MCP have none.
const ITEM_BYTES_MIN: u64 = 16;

/// How a stream has done in the window that runs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Throughput {
    waited: Duration,
    bytes: u64,
}

impl Throughput {
    /// How long it may be waited for before the verdict; `None` when the window is already won.
    pub(crate) fn patience(&self, floor: Floor) -> Option<Duration> {
        (self.bytes < floor.bytes).then(|| floor.window.saturating_sub(self.waited))
    }

    /// An item came after such a wait.
    pub(crate) fn came(&mut self, floor: Floor, waited: Duration, bytes: usize) {
        self.waited = self.waited.saturating_add(waited);
        self.bytes = self.bytes.saturating_add((bytes as u64).max(ITEM_BYTES_MIN));
        if self.waited >= floor.window && self.bytes >= floor.bytes {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: Floor = Floor { bytes: 100, window: Duration::from_secs(10) };

    /// Items of so many bytes after so many seconds each; after how many of them it is given up.
    fn given_up_after(items: &[(u64, usize)]) -> Option<usize> {
        let mut throughput = Throughput::default();
        items.iter().position(|(seconds, bytes)| {
            let wait = Duration::from_secs(*seconds);
            let late = throughput.patience(FLOOR).is_some_and(|patience| wait > patience);
            throughput.came(FLOOR, wait, *bytes);
            late
        })
    }

    #[test]
    fn a_drip_is_given_up_and_a_slow_reader_is_not() {
        assert_eq!(given_up_after(&[(3, 20); 20]), Some(3), "80 bytes in 12 s");
        assert_eq!(given_up_after(&[(3, 40); 20]), None);
        assert_eq!(given_up_after(&[(0, 1); 1000]), None, "nobody waited");
        // A burst wins its window; silence after it is the stall limit's.
        assert_eq!(given_up_after(&[(0, 5000), (9, 20), (9, 20), (9, 20), (9, 20)]), Some(4));
        assert_eq!(given_up_after(&[(2, 0); 20]), Some(5), "items without bytes count a little");
    }
}
