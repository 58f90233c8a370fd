//! All that an engine is ever asked to do: a closed list, each item one transaction.

use std::sync::Arc;

use outcrop_policy::ledger::{AccountRow, Answer, Balance, Crossing, Report};

use crate::StoreError;
use crate::allocate::{self, AccountFilter, Beat, Beginning, Begun, ReplicaView};
use crate::documents::{self, Documents};
use crate::journal::{self, Attributed, Correction, EntryFilter, Group, JournalEntry, Pace};
use crate::keyed::{self, Closing, KeyedView, Known, Opening};
use crate::session::{Row, Session};

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    Begin(Beginning),
    Report { beat: Beat, report: Arc<Report> },
    End(Beat),
    Release { replica: Arc<str>, by: String, wall_ms: i64 },
    Resolve(Correction),
    Change { kind: String, id: String, body: Option<String> },
    Prune { before_ms: i64 },
    BeginCall(Opening),
    EndCall(Closing),
    ClearCall { caller: Arc<str>, key: Arc<str>, owner: Arc<str>, now_ms: i64 },
    Secret { fresh: String },
    Documents,
    Revision,
    Accounts { filter: AccountFilter, now_ms: i64 },
    Entries(EntryFilter),
    Attribution { groups: Vec<Group>, from_ms: i64, to_ms: i64 },
    Crossings { since_ms: i64 },
    Pace { budget: String, scope: String, from_ms: i64, to_ms: i64 },
    Replicas { wall_ms: i64 },
    KeyedCalls { now_ms: i64 },
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Outcome {
    Done,
    Begun(Begun),
    Answer(Answer),
    Entry(Box<JournalEntry>),
    Count(u64),
    Secret(Arc<str>),
    Documents(Documents),
    Accounts(Vec<(AccountRow, Balance)>),
    Entries(Vec<JournalEntry>),
    Attribution(Vec<Attributed>),
    Crossings(Vec<Crossing>),
    Pace(Vec<Pace>),
    Replicas(Vec<ReplicaView>),
    Known(Known),
    KeyedCalls(Vec<KeyedView>),
}

/// Work that holds up only its like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// What changes something.
    Write,
    /// What people ask.
    Read,
    /// What is looked at all the time, so that a stop arrives in time.
    Watch,
}

impl Work {
    /// Who does it.
    pub(crate) fn lane(&self) -> Lane {
        match self {
            Self::Begin(_)
            | Self::Report { .. }
            | Self::End(_)
            | Self::Release { .. }
            | Self::Resolve(_)
            | Self::Change { .. }
            | Self::Prune { .. }
            | Self::BeginCall(_)
            | Self::EndCall(_)
            | Self::ClearCall { .. }
            | Self::Secret { .. } => Lane::Write,
            Self::Documents | Self::Revision => Lane::Watch,
            Self::Accounts { .. }
            | Self::Entries(_)
            | Self::Attribution { .. }
            | Self::Crossings { .. }
            | Self::Pace { .. }
            | Self::Replicas { .. }
            | Self::KeyedCalls { .. } => Lane::Read,
        }
    }
}

/// Does it within the transaction of a session.
pub(crate) async fn perform(session: &Session<'_>, work: &Work) -> Result<Outcome, StoreError> {
    Ok(match work {
        Work::Begin(beginning) => Outcome::Begun(allocate::begin(session, beginning).await?),
        Work::Report { beat, report } => Outcome::Answer(allocate::report(session, beat, report).await?),
        Work::End(beat) => {
            allocate::end(session, beat).await?;
            Outcome::Done
        }
        Work::Release { replica, by, wall_ms } => {
            allocate::release(session, replica, by, *wall_ms).await?;
            Outcome::Done
        }
        Work::Resolve(correction) => Outcome::Entry(Box::new(allocate::resolve(session, correction).await?)),
        Work::Change { kind, id, body } => {
            Outcome::Documents(documents::change(session, kind, id, body.as_deref()).await?)
        }
        Work::Prune { before_ms } => Outcome::Count(allocate::prune(session, *before_ms).await?),
        Work::Secret { fresh } => Outcome::Secret(secret(session, fresh).await?),
        Work::Documents => Outcome::Documents(documents::load(session).await?),
        Work::Revision => Outcome::Count(documents::revision(session).await?),
        Work::Accounts { filter, now_ms } => {
            Outcome::Accounts(allocate::accounts(session, filter, *now_ms).await?)
        }
        Work::Entries(filter) => Outcome::Entries(journal::entries(session, filter).await?),
        Work::Attribution { groups, from_ms, to_ms } => {
            Outcome::Attribution(journal::attribution(session, groups, *from_ms, *to_ms).await?)
        }
        Work::Crossings { since_ms } => Outcome::Crossings(journal::crossings(session, *since_ms).await?),
        Work::Pace { budget, scope, from_ms, to_ms } => {
            Outcome::Pace(journal::pace(session, budget, scope, (*from_ms, *to_ms)).await?)
        }
        Work::BeginCall(opening) => Outcome::Known(keyed::begin(session, opening).await?),
        Work::EndCall(closing) => {
            keyed::end(session, closing).await?;
            Outcome::Done
        }
        Work::ClearCall { caller, key, owner, now_ms } => {
            Outcome::Count(keyed::clear(session, (caller, key), owner, *now_ms).await?)
        }
        Work::KeyedCalls { now_ms } => Outcome::KeyedCalls(keyed::list(session, *now_ms).await?),
        Work::Replicas { wall_ms } => Outcome::Replicas(allocate::replicas(session, *wall_ms).await?),
    })
}

/// The store's secret: the first one that was offered.
async fn secret(session: &Session<'_>, fresh: &str) -> Result<Arc<str>, StoreError> {
    let offer = "INSERT INTO meta (name, number, words) VALUES ('secret', 0, $1) ON CONFLICT DO NOTHING";
    session.run(offer, vec![fresh.into()]).await?;
    let rows = session.query("SELECT words FROM meta WHERE name = 'secret'", Vec::new()).await?;
    let first = rows.into_iter().next();
    first.map_or_else(|| Err(StoreError::Unreadable("the secret".to_owned())), |mut row: Row| row.text())
}
