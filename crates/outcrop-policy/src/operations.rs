//! The operation table that ships: classes of requests with their deadlines and orders of paths.
//!
//! Rows of the configuration win by name; the table itself never changes at run time.

use std::time::Duration;

use outcrop_core::operation::{Operation, Preference, Priority, Strategy};
use outcrop_core::path::PathKind;

/// The operation of a request that names none.
pub const DEFAULT_OPERATION: &str = "standard";

/// Longest deadline an operation may promise.
pub const DEADLINE_MAX: Duration = Duration::from_mins(10);

/// The table that ships (see `docs/routing.md`).
pub fn shipped() -> Vec<Operation> {
    let direct_first = || vec![Preference::Direct, Preference::Kind(PathKind::Mcp)];
    let mcp_first = || vec![Preference::Kind(PathKind::Mcp), Preference::Direct];
    [
        ("emergency", Priority::Emergency, 5, direct_first()),
        ("infrastructure", Priority::Critical, 10, direct_first()),
        ("meta_monitor", Priority::High, 15, direct_first()),
        ("implementation", Priority::High, 15, direct_first()),
        ("communication", Priority::Medium, 30, mcp_first()),
        (DEFAULT_OPERATION, Priority::Medium, 30, mcp_first()),
        ("background", Priority::Low, 60, mcp_first()),
    ]
    .into_iter()
    .map(|(name, priority, seconds, order)| Operation {
        name: name.into(),
        priority,
        deadline: Duration::from_secs(seconds),
        order,
        strategy: Strategy::default(),
    })
    .collect()
}

/// Puts `rows` over `table`: a row with a known name replaces that row, another is added.
pub fn overlay(mut table: Vec<Operation>, rows: Vec<Operation>) -> Vec<Operation> {
    for row in rows {
        match table.iter_mut().find(|known| known.name == row.name) {
            Some(known) => *known = row,
            None => table.push(row),
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_win_by_name_and_others_are_added() {
        let mut row = shipped().remove(1);
        row.deadline = Duration::from_secs(3);
        let mut other = row.clone();
        other.name = "reports".into();
        let table = overlay(shipped(), vec![row.clone(), other.clone()]);
        assert_eq!(table.len(), shipped().len() + 1);
        assert!(table.contains(&row) && table.contains(&other));
    }
}
