//! What the store says, read beside the gateway, and what the lab billed.

use std::path::Path;

use outcrop_lab::Lab;
use rusqlite::{Connection, OpenFlags};

use crate::house::{PATHS, target};

/// A budget's account with all its leases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stands {
    pub(super) posted: i64,
    pub(super) suspense: i64,
    pub(super) leased: i64,
    pub(super) pending: i64,
    pub(super) limit: i64,
}

impl Stands {
    pub(super) fn committed(&self) -> i64 {
        self.posted + self.suspense
    }
}

const STANDS: &str = "SELECT a.posted, a.suspense, \
    COALESCE(SUM(l.granted + l.granted_emergency - l.spent - l.spent_emergency), 0), \
    COALESCE(SUM(l.pending), 0), a.limit_amount FROM account a LEFT JOIN lease l \
    ON l.budget = a.budget AND l.scope = a.scope AND l.start_ms = a.start_ms \
    WHERE a.dimension = ?1 GROUP BY a.budget, a.scope, a.start_ms";

fn open(database: &Path) -> Connection {
    Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

/// How the one budget of a dimension stands.
pub(super) fn stands(database: &Path, dimension: &str) -> Stands {
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Stands {
            posted: row.get(0)?,
            suspense: row.get(1)?,
            leased: row.get(2)?,
            pending: row.get(3)?,
            limit: row.get(4)?,
        })
    };
    let found = open(database).query_row(STANDS, [dimension], read);
    match found {
        Err(rusqlite::Error::QueryReturnedNoRows) => Stands::default(),
        other => other.unwrap(),
    }
}

/// What is posted in each account of a dimension, by the beginning of its window.
pub(super) fn accounts(database: &Path, dimension: &str) -> Vec<(i64, i64)> {
    let connection = open(database);
    let mut query = connection
        .prepare("SELECT start_ms, posted FROM account WHERE dimension = ?1 ORDER BY start_ms")
        .unwrap();
    let rows = query.query_map([dimension], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

/// The thresholds that were told, with their moments.
pub(super) fn crossings(database: &Path) -> Vec<(String, String, i64)> {
    let connection = open(database);
    let mut query = connection.prepare("SELECT budget, level, at_ms FROM crossing ORDER BY 1, 2").unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Attempts in the journal: all of them, and the different ones.
pub(super) fn attempts(database: &Path) -> (i64, i64) {
    let counting = "SELECT COUNT(*), COUNT(DISTINCT request_id || attempt) FROM entry \
                    WHERE request_id <> ''";
    open(database).query_row(counting, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}

/// What the lab billed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Billed {
    pub(super) nusd: i64,
    pub(super) executed: i64,
    /// Requests that arrived, executed or not.
    pub(super) arrived: i64,
}

impl Billed {
    /// As far as it is known by this moment.
    pub(super) fn of(lab: &Lab) -> Self {
        let mut billed = Self::default();
        for (path, _) in PATHS {
            let totals = lab.target(target(path)).unwrap().billing().totals();
            billed.nusd += i64::try_from(totals.cost_nusd).unwrap();
            billed.executed += i64::try_from(totals.executed).unwrap();
            billed.arrived += i64::try_from(totals.requests).unwrap();
        }
        billed
    }
}
