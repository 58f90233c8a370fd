//! What an operator asks of budgets first: what is left, what is blocked and why, when it runs out.
//!
//! Balances, entries and paces come from the store, so every replica shows the same. An administrator
//! with bounds sees and changes what lies within them only.

mod account;
pub(crate) mod limits;
mod reconcile;
mod spend;
pub(crate) mod watch;

use std::sync::Arc;

use http::StatusCode;
use outcrop_admin::budgets::{Budgeting, LimitOrder, ReconcileOrder, SpendQuery, Which};
use outcrop_admin::stops::{Answering, NotDone, may_order};
use outcrop_policy::ledger::{Amount, Crossing, Entry, EntryState, Settled};
use outcrop_policy::{Attribution, Scope};
use outcrop_proxy::Gateway;
use outcrop_store::journal::{ANSWER_ROWS_MAX, EntryFilter, JournalEntry};
use outcrop_store::{AccountFilter, Administrator, ReplicaView, Store, StoreError};
use serde_json::{Value, json};

use self::account::Account;
use self::limits::{Limits, Override, Row};
use crate::clock::time;
use crate::config;
use crate::impacting::Impacting;

/// Most accounts in one answer: those of which the most is committed.
const ACCOUNTS_MAX: usize = 500;
/// How long an attempt that cost more than was reserved is shown.
const OVERSHOOTS_SHOWN_MS: i64 = 7 * 24 * 3_600_000;
/// Most of them that are looked at: the newest.
const OVERSHOOTS_MAX: usize = 1_000;

/// The operator's handle. Clones share it.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) store: Store,
    pub(crate) limits: Limits,
    pub(crate) impacting: Impacting,
}

impl Budgeting for Desk {
    fn show(&self, which: Which, who: Administrator) -> Answering {
        let desk = self.clone();
        Box::pin(async move { desk.shown(which.budget.as_deref(), &who).await })
    }

    fn set(&self, order: LimitOrder, who: Administrator) -> Answering {
        let desk = self.clone();
        Box::pin(async move { desk.set_limit(&order, &who).await })
    }

    fn reconcile(&self, order: ReconcileOrder, who: Administrator) -> Answering {
        let desk = self.clone();
        Box::pin(async move { desk.take_evidence(&order, &who).await })
    }

    fn spend(&self, query: SpendQuery, who: Administrator) -> Answering {
        let desk = self.clone();
        Box::pin(async move { spend::of(&desk.store, &query, &who, desk.now_ms()).await })
    }

    fn alerts(&self, who: Administrator) -> Answering {
        let desk = self.clone();
        Box::pin(async move { desk.alerting(&who).await })
    }

    fn confirm_clock(&self, who: Administrator) -> Answering {
        let desk = self.clone();
        Box::pin(async move {
            everywhere(&who)?;
            let was_frozen = desk.gateway.ledger().clock_is_frozen();
            desk.gateway.keeper.confirm_clock();
            tracing::warn!(by = &*who.name, was_frozen, "the wall clock is confirmed");
            Ok(json!({"was_frozen": was_frozen, "now": time(desk.now_ms())}))
        })
    }
}

impl Desk {
    pub(crate) fn new(gateway: &Arc<Gateway>, store: &Store, limits: &Limits, impacting: &Impacting) -> Self {
        let (gateway, store) = (Arc::clone(gateway), store.clone());
        Self { gateway, store, limits: limits.clone(), impacting: impacting.clone() }
    }

    fn now_ms(&self) -> i64 {
        self.gateway.ledger().time_ms(self.gateway.keeper.now())
    }

    /// The accounts in force that somebody may see, those of which most is committed first; and how many
    /// more there are.
    async fn accounts(
        &self,
        rows: &[Row],
        asked: Option<&str>,
        who: &Administrator,
    ) -> Result<(Vec<Account>, usize), StoreError> {
        let now_ms = self.now_ms();
        let mut found = Vec::new();
        for (row, balance) in self.store.accounts(AccountFilter::default(), now_ms).await? {
            let Some(budget) = rows.iter().find(|budget| budget.file.id == row.key.budget) else { continue };
            let meant = asked.is_none_or(|asked| names(budget, asked) || *row.key.scope == *asked);
            if meant && sees(who, &row.key.scope) {
                let limit = i128::from(budget.spec().limit.max(1));
                found.push((i128::from(balance.committed()) * 1000 / limit, budget, row, balance));
            }
        }
        found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.2.key.cmp(&b.2.key)));
        let more = found.len().saturating_sub(ACCOUNTS_MAX);
        let mut accounts = Vec::with_capacity(found.len() - more);
        for (_, budget, row, balance) in found.into_iter().take(ACCOUNTS_MAX) {
            accounts.push(Account::of(&self.store, &budget.spec(), &(row, balance), now_ms).await?);
        }
        Ok((accounts, more))
    }

    async fn shown(&self, asked: Option<&str>, who: &Administrator) -> Result<Value, NotDone> {
        let rows = self.limits.rows();
        let (accounts, more) = self.accounts(&rows, asked, who).await.map_err(|e| failed(&e))?;
        let meant = |row: &&Row| {
            let of_account = accounts.iter().any(|account| *account.budget == *row.file.id);
            let named = asked.is_none_or(|asked| names(row, asked)) && who.may_administer(&row.file.scope);
            named || of_account
        };
        let budgets: Vec<Value> = rows.iter().filter(meant).map(|row| budget(row, &accounts)).collect();
        if let (Some(asked), true) = (asked, budgets.is_empty()) {
            return Err(unknown(asked, &rows));
        }
        let frozen = self.gateway.ledger().clock_is_frozen();
        let mut answer = json!({
            "now": time(self.now_ms()), "clock_frozen": frozen, "budgets": budgets, "accounts_left_out": more,
            "overshoots": self.overshoots(who).await.map_err(|e| failed(&e))?.len(),
            "silent": self.silent(who).await.map_err(|e| failed(&e))?,
        });
        if asked.is_some() {
            let suspended = self.suspended(who).await.map_err(|e| failed(&e))?;
            let of_these = suspended.iter().filter_map(|entry| blocked(entry, &accounts));
            answer["suspended"] = of_these.collect();
            answer["crossings"] = self.crossings(&accounts).await.map_err(|e| failed(&e))?;
        }
        Ok(answer)
    }

    /// Replicas that have ended without a word and still hold something, for those who may release them.
    async fn silent(&self, who: &Administrator) -> Result<Vec<Value>, StoreError> {
        if everywhere(who).is_err() {
            return Ok(Vec::new());
        }
        let mut replicas = self.store.replicas().await?;
        replicas.retain(|replica| !replica.is_live && replica.leases > 0);
        let shown = |replica: &ReplicaView| json!({"replica": replica.id, "heard_at": time(replica.seen_ms), "accounts": replica.leases});
        Ok(replicas.iter().map(shown).collect())
    }

    /// Entries in suspense that somebody may see, newest first.
    async fn suspended(&self, who: &Administrator) -> Result<Vec<JournalEntry>, StoreError> {
        let filter = EntryFilter {
            state: Some(EntryState::Suspense),
            limit: ANSWER_ROWS_MAX,
            ..EntryFilter::default()
        };
        let mut entries = self.store.entries(filter).await?;
        entries.retain(|entry| sees_entry(who, &entry.settled.entry));
        Ok(entries)
    }

    /// Attempts of the last days that cost more than was reserved for them, newest first.
    async fn overshoots(&self, who: &Administrator) -> Result<Vec<Value>, StoreError> {
        let filter = EntryFilter {
            over_bound: true,
            from_ms: Some(self.now_ms().saturating_sub(OVERSHOOTS_SHOWN_MS)),
            limit: OVERSHOOTS_MAX,
            ..EntryFilter::default()
        };
        let entries = self.store.entries(filter).await?;
        let seen = entries.iter().filter(|entry| sees_entry(who, &entry.settled.entry));
        Ok(seen.map(|entry| overshoot(&entry.settled)).collect())
    }

    /// The thresholds that accounts have crossed in their windows.
    async fn crossings(&self, accounts: &[Account]) -> Result<Value, StoreError> {
        let since_ms = accounts.iter().map(|account| account.start_ms).min().unwrap_or(i64::MAX);
        let crossings = self.store.crossings(since_ms).await?;
        let of_one = |crossing: &&Crossing| {
            let key = &crossing.key;
            accounts
                .iter()
                .any(|a| a.budget == *key.budget && a.scope == *key.scope && a.start_ms <= key.start_ms)
        };
        Ok(crossings
            .iter()
            .filter(of_one)
            .map(|crossing| {
                json!({
                    "budget": crossing.key.budget, "scope": crossing.key.scope, "level": crossing.level,
                    "committed": crossing.committed, "limit": crossing.limit, "at": time(crossing.at_ms),
                })
            })
            .collect())
    }

    async fn alerting(&self, who: &Administrator) -> Result<Value, NotDone> {
        let rows = self.limits.rows();
        let (accounts, _) = self.accounts(&rows, None, who).await.map_err(|e| failed(&e))?;
        let crossings = self.crossings(&accounts).await.map_err(|e| failed(&e))?;
        let overshoots = self.overshoots(who).await.map_err(|e| failed(&e))?;
        // What a process takes is nobody's of whom it serves.
        let impact = if everywhere(who).is_ok() { self.impacting.alarms() } else { Vec::new() };
        Ok(json!({
            "crossings": crossings, "burning": burning(&accounts), "overshoots": overshoots, "impact": impact,
        }))
    }

    async fn set_limit(&self, order: &LimitOrder, who: &Administrator) -> Result<Value, NotDone> {
        let rows = self.limits.rows();
        let wanted = match &order.limit {
            Some(text) => {
                Some(config::budget_limit(text).map_err(|e| NotDone::new(StatusCode::BAD_REQUEST, e))?)
            }
            None => None,
        };
        let fits = |row: &&Row| {
            let exact = *row.file.id == *order.budget;
            exact || (names(row, &order.budget) && wanted.is_none_or(|(_, unit)| unit == row.file.dimension))
        };
        let meant: Vec<&Row> = rows.iter().filter(fits).collect();
        let [row] = meant[..] else {
            let ids: Vec<&str> = meant.iter().map(|row| &*row.file.id).collect();
            if ids.is_empty() {
                return Err(unknown(&order.budget, &rows));
            }
            let text = format!("`{}` is several budgets; name one of: {}", order.budget, ids.join(", "));
            return Err(NotDone::new(StatusCode::BAD_REQUEST, text));
        };
        may_order(who, &row.file.scope)?;
        let set = match wanted {
            Some((_, unit)) if unit != row.file.dimension => {
                let text = format!("{} counts {}", row.file.id, row.file.dimension.label());
                return Err(NotDone::new(StatusCode::BAD_REQUEST, text));
            }
            Some((limit, _)) => Some(Override { limit, by: who.name.to_string(), at_ms: self.now_ms() }),
            None => None,
        };
        self.limits.set(&row.file.id, set.as_ref()).await.map_err(|e| failed(&e))?;
        let now = Row { file: row.file.clone(), set };
        tracing::warn!(budget = &*row.file.id, limit = now.spec().limit, by = &*who.name, "a limit was set");
        Ok(budget(&now, &[]))
    }
}

/// The rules that fire, account by account.
fn burning(accounts: &[Account]) -> Vec<Value> {
    let firing = accounts.iter().flat_map(|account| {
        let fires = account.burn.iter().filter(|burn| burn.firing);
        fires.map(|burn| json!({"budget": account.budget, "scope": account.scope, "burn": burn}))
    });
    firing.collect()
}

fn budget(row: &Row, accounts: &[Account]) -> Value {
    let spec = row.spec();
    let own: Vec<&Account> = accounts.iter().filter(|account| *account.budget == *spec.id).collect();
    json!({
        "id": spec.id, "scope": spec.scope.to_string(), "window": spec.window.to_string(),
        "dimension": spec.dimension, "limit": spec.limit, "hard": spec.hard, "carve_out": spec.carve_out,
        "shortage": spec.shortage, "input_count": spec.input_count, "file_limit": row.file.limit,
        "set_by": row.set.as_ref().map(|set| &set.by),
        "set_at": row.set.as_ref().and_then(|set| time(set.at_ms)),
        "accounts": own,
    })
}

/// An entry in suspense with what it blocks of these accounts, and why; `None` when it blocks nothing
/// there.
fn blocked(entry: &JournalEntry, accounts: &[Account]) -> Option<Value> {
    let settled = &entry.settled;
    let blocks: Vec<Value> = settled
        .lines
        .iter()
        .filter_map(|line| {
            let key = &line.account;
            let of =
                |a: &&Account| a.budget == *key.budget && a.scope == *key.scope && a.start_ms <= key.start_ms;
            let account = accounts.iter().find(of)?;
            let shown = Amount { amount: line.amount, dimension: account.dimension }.to_string();
            Some(json!({"budget": key.budget, "scope": key.scope, "amount": line.amount, "shown": shown}))
        })
        .collect();
    let e = &settled.entry;
    (!blocks.is_empty()).then(|| {
        json!({
            "attempt": settled.attempt, "request_id": e.request_id, "since": time(e.at_ms), "blocks": blocks,
            "why": why(e), "key": e.key, "model": e.model, "path": e.path, "target": e.target,
            "upstream_request_id": e.upstream_request_id, "bound_nusd": e.bound_nusd,
        })
    })
}

/// An attempt that cost more than was reserved for it.
fn overshoot(settled: &Settled) -> Value {
    let e = &settled.entry;
    json!({
        "attempt": settled.attempt, "request_id": e.request_id, "at": time(e.at_ms), "key": e.key,
        "model": e.model, "path": e.path, "target": e.target, "upstream_request_id": e.upstream_request_id,
        "bound_nusd": e.bound_nusd, "cost_nusd": e.cost_nusd,
    })
}

fn why(entry: &Entry) -> &'static str {
    if entry.request_id.is_empty() {
        "a replica ended and its dispatch log was incomplete: all that it held may have been spent"
    } else if entry.upstream_request_id.is_empty() {
        "it was sent, and the upstream never said what became of it"
    } else {
        "the upstream took it and never said what it used"
    }
}

/// Whether a text names this budget: its id or its scope.
fn names(row: &Row, asked: &str) -> bool {
    *row.file.id == *asked || Scope::parse(asked).is_ok_and(|scope| scope == row.file.scope)
}

/// Whether somebody may see the account of a concrete scope; one without a value is for those who see all.
fn sees(who: &Administrator, scope: &str) -> bool {
    who.manages.is_empty() || Scope::parse(scope).is_ok_and(|scope| who.may_administer(&scope))
}

fn sees_entry(who: &Administrator, entry: &Entry) -> bool {
    let whose = Attribution {
        org: Arc::clone(&entry.org),
        team: Arc::clone(&entry.team),
        key: Arc::clone(&entry.key),
        user: Arc::clone(&entry.user),
        run: Arc::clone(&entry.run),
        model: Arc::clone(&entry.model),
        path: Arc::clone(&entry.path),
        operation: Arc::clone(&entry.operation),
        tool: Arc::clone(&entry.tool),
        ..Attribution::default()
    };
    who.manages.is_empty() || who.manages.iter().any(|own| own.matches(&whose))
}

/// For what concerns everybody.
fn everywhere(who: &Administrator) -> Result<(), NotDone> {
    may_order(who, &Scope::all())
}

fn unknown(asked: &str, rows: &[Row]) -> NotDone {
    let ids: Vec<&str> = rows.iter().take(20).map(|row| &*row.file.id).collect();
    let there = if ids.is_empty() { "none".to_owned() } else { ids.join(", ") };
    let text = format!(
        "There is no budget `{asked}`; a budget is made in the file as [[budget]]. There is: {there}"
    );
    NotDone::new(StatusCode::NOT_FOUND, text)
}

fn failed(error: &StoreError) -> NotDone {
    let status = match error {
        StoreError::Unavailable(_) | StoreError::Unreadable(_) => StatusCode::SERVICE_UNAVAILABLE,
        StoreError::Refused(_) => StatusCode::CONFLICT,
    };
    NotDone::new(status, error.to_string())
}
