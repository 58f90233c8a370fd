//! The store as everybody else sees it: one handle, whatever the engine.
//!
//! What operators ask is here; the request path's side is the `Keeper`, the shared documents are the
//! `Register`.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use outcrop_policy::ledger::{AccountRow, Amounts, Answer, Balance, Crossing, Report};
use tokio_util::task::TaskTracker;

use crate::allocate::{AccountFilter, Beat, Beginning, Begun, ReplicaView};
use crate::documents::Documents;
use crate::engine::{Engine, EngineKind};
use crate::journal::{Attributed, Correction, EntryFilter, Group, JournalEntry, Pace};
use crate::keyed::{CallEnd, Closing, KeyedCall, KeyedView, Known, Opening};
use crate::work::{Outcome, Work};
use crate::{Location, StoreError, machine};

/// Bytes of the store's secret.
const SECRET_BYTES: usize = 32;
/// Longest reason and name of a correction, in characters.
const WORDS_MAX: usize = 500;

/// An open store. Clones share it.
#[derive(Clone)]
pub struct Store {
    engine: Engine,
    secret: Arc<hmac::Key>,
    // Names this opening of the store among all there ever were.
    owner: Arc<str>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("kind", &self.engine.kind).finish_non_exhaustive()
    }
}

/// The outcome of work is of the work's kind.
macro_rules! expect {
    ($outcome:expr, $kind:ident) => {
        match $outcome {
            Outcome::$kind(value) => Ok(value),
            other => Err(StoreError::Unreadable(format!("an unexpected answer: {other:?}"))),
        }
    };
}

impl Store {
    /// Opens the store at a location, or makes it. What runs in the background runs on `tasks` and ends
    /// with the last handle, or with `close`.
    pub async fn open(location: &Location, tasks: &TaskTracker) -> Result<Self, StoreError> {
        Self::open_beside(location, tasks, None).await
    }

    /// Opens a store that a process of this gateway uses and hands over: `lock` is that one's `lock`.
    pub async fn open_beside(
        location: &Location,
        tasks: &TaskTracker,
        lock: Option<File>,
    ) -> Result<Self, StoreError> {
        let engine = Engine::open(location, tasks, lock).await?;
        let fresh = hexadecimal(&random());
        let secret = expect!(engine.carry_out(Work::Secret { fresh }).await?, Secret)?;
        let secret = Arc::new(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
        let owner = hexadecimal(&random()).into();
        Ok(Self { engine, secret, owner })
    }

    /// Which engine it is.
    pub fn kind(&self) -> EngineKind {
        self.engine.kind
    }

    /// Whether several replicas share it.
    pub fn is_shared(&self) -> bool {
        self.engine.is_shared()
    }

    /// Another process of this gateway begins to use the same file, or has ended.
    pub fn in_company(&self, is: bool) {
        self.engine.in_company(is);
    }

    /// What keeps other processes out of the file. Whoever is given it may open the store beside this
    /// process, and keeps the others out when this one has ended. `None` where nothing keeps anybody out.
    pub fn lock(&self) -> Option<File> {
        self.engine.lock()
    }

    /// Closes it: nothing can be asked of it afterwards, by no handle.
    pub async fn close(&self) {
        self.engine.close().await;
    }

    /// The accounts in force at ledger time `now_ms`, and how each stands.
    pub async fn accounts(
        &self,
        filter: AccountFilter,
        now_ms: i64,
    ) -> Result<Vec<(AccountRow, Balance)>, StoreError> {
        expect!(self.engine.carry_out(Work::Accounts { filter, now_ms }).await?, Accounts)
    }

    /// Entries of the journal, newest first.
    pub async fn entries(&self, filter: EntryFilter) -> Result<Vec<JournalEntry>, StoreError> {
        expect!(self.engine.carry_out(Work::Entries(filter)).await?, Entries)
    }

    /// What attempts cost that were admitted from `from_ms` on and before `to_ms`, by groups.
    pub async fn attribution(
        &self,
        groups: Vec<Group>,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<Attributed>, StoreError> {
        expect!(self.engine.carry_out(Work::Attribution { groups, from_ms, to_ms }).await?, Attribution)
    }

    /// Thresholds that were crossed at or after a ledger time, oldest first.
    pub async fn crossings(&self, since_ms: i64) -> Result<Vec<Crossing>, StoreError> {
        expect!(self.engine.carry_out(Work::Crossings { since_ms }).await?, Crossings)
    }

    /// How fast a budget's scope was used, in slots of five minutes by the time of admission.
    pub async fn pace(
        &self,
        budget: &str,
        scope: &str,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<Pace>, StoreError> {
        let work = Work::Pace { budget: budget.to_owned(), scope: scope.to_owned(), from_ms, to_ms };
        expect!(self.engine.carry_out(work).await?, Pace)
    }

    /// All replicas that ever began.
    pub async fn replicas(&self) -> Result<Vec<ReplicaView>, StoreError> {
        let work = Work::Replicas { wall_ms: machine::now().wall_ms };
        expect!(self.engine.carry_out(work).await?, Replicas)
    }

    /// Posts what an attempt in suspense has really cost, as a signed entry of its own. Saying the same
    /// again changes nothing; another cost is refused.
    pub async fn resolve(
        &self,
        attempt: &str,
        actual: Amounts,
        reason: &str,
        by: &str,
    ) -> Result<JournalEntry, StoreError> {
        let short =
            |words: &str| words.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect::<String>();
        let (reason, by) = (short(reason), short(by));
        if by.is_empty() || actual.nusd < 0 {
            return Err(StoreError::Refused(
                "a correction needs a name, and a cost that is not negative".into(),
            ));
        }
        let signature = self.sign(attempt, &actual, &reason, &by);
        let correction = Correction { attempt: attempt.to_owned(), actual, reason, by, signature };
        expect!(self.engine.carry_out(Work::Resolve(correction)).await?, Entry).map(|entry| *entry)
    }

    /// Whether a correction is as it was when it was signed with this store's secret.
    pub fn is_genuine(&self, entry: &JournalEntry, actual: &Amounts) -> bool {
        let (Some(attempt), Some(reason), Some(by)) = (&entry.corrects, &entry.reason, &entry.by) else {
            return false;
        };
        let signature = self.sign(attempt, actual, reason, by);
        entry.signature.as_deref() == Some(&*signature) && entry.settled.entry.cost_nusd == actual.nusd
    }

    fn sign(&self, attempt: &str, actual: &Amounts, reason: &str, by: &str) -> String {
        // No part can hold a line break, but for the attempt: that one comes first, with its length.
        let Amounts { nusd, input_tokens, output_tokens, requests, tool_calls } = actual;
        let said = format!(
            "{}\n{attempt}\n{nusd}\n{input_tokens}\n{output_tokens}\n{requests}\n{tool_calls}\n{by}\n{reason}",
            attempt.len()
        );
        hexadecimal(hmac::sign(&self.secret, said.as_bytes()).as_ref())
    }

    /// Gives a replica up that has been silent for a while: what it held goes into suspense, and it is
    /// not heard any more should it come back.
    pub async fn release_replica(&self, id: &str, by: &str) -> Result<(), StoreError> {
        let wall_ms = machine::now().wall_ms;
        self.engine.carry_out(Work::Release { replica: id.into(), by: by.to_owned(), wall_ms }).await?;
        Ok(())
    }

    /// Begins a keyed call that ends within `time_max`, unless its key is known. It is durable when this
    /// returns.
    pub async fn begin_call(&self, call: KeyedCall, time_max: Duration) -> Result<Known, StoreError> {
        let (owner, now_ms) = (Arc::clone(&self.owner), machine::now().wall_ms);
        let opening = Opening { call, owner, now_ms, time_max };
        expect!(self.engine.carry_out(Work::BeginCall(opening)).await?, Known)
    }

    /// Ends a keyed call that this handle or a clone of it has begun.
    pub async fn end_call(&self, call: KeyedCall, end: CallEnd) -> Result<(), StoreError> {
        let owner = Arc::clone(&self.owner);
        self.engine.carry_out(Work::EndCall(Closing { call, owner, end })).await.map(|_| ())
    }

    /// Keyed calls that are kept, newest first, at most a thousand.
    pub async fn keyed_calls(&self) -> Result<Vec<KeyedView>, StoreError> {
        let work = Work::KeyedCalls { now_ms: machine::now().wall_ms };
        expect!(self.engine.carry_out(work).await?, KeyedCalls)
    }

    /// Forgets what is known under a key, so that it can be used again; whether there was something. A
    /// call that runs stays.
    pub async fn clear_call(&self, caller: &str, key: &str) -> Result<bool, StoreError> {
        let work = Work::ClearCall {
            caller: caller.into(),
            key: key.into(),
            owner: Arc::clone(&self.owner),
            now_ms: machine::now().wall_ms,
        };
        expect!(self.engine.carry_out(work).await?, Count).map(|gone| gone > 0)
    }

    /// Forgets what is older, a batch at a time; how many rows went.
    pub(crate) async fn prune(&self, before_ms: i64) -> Result<u64, StoreError> {
        expect!(self.engine.carry_out(Work::Prune { before_ms }).await?, Count)
    }

    pub(crate) async fn begin(&self, beginning: Beginning) -> Result<Begun, StoreError> {
        expect!(self.engine.carry_out(Work::Begin(beginning)).await?, Begun)
    }

    pub(crate) async fn report(&self, beat: Beat, report: Arc<Report>) -> Result<Answer, StoreError> {
        expect!(self.engine.carry_out(Work::Report { beat, report }).await?, Answer)
    }

    pub(crate) async fn end(&self, beat: Beat) -> Result<(), StoreError> {
        self.engine.carry_out(Work::End(beat)).await.map(|_| ())
    }

    pub(crate) async fn documents(&self) -> Result<Documents, StoreError> {
        expect!(self.engine.carry_out(Work::Documents).await?, Documents)
    }

    pub(crate) async fn revision(&self) -> Result<u64, StoreError> {
        expect!(self.engine.carry_out(Work::Revision).await?, Count)
    }

    pub(crate) async fn change(
        &self,
        kind: &str,
        id: &str,
        body: Option<&str>,
    ) -> Result<Documents, StoreError> {
        let work = Work::Change { kind: kind.to_owned(), id: id.to_owned(), body: body.map(str::to_owned) };
        expect!(self.engine.carry_out(work).await?, Documents)
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

fn random() -> [u8; SECRET_BYTES] {
    let mut bytes = [0; SECRET_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).expect("invariant: the operating system has random numbers");
    bytes
}
