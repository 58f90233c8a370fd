//! Evidence for what is in suspense: an operator's word, the provider's invocation log, or that a
//! replica is gone. What the evidence does not name stays where it is; nothing is guessed.

use std::collections::HashMap;

use http::StatusCode;
use outcrop_admin::budgets::ReconcileOrder;
use outcrop_admin::stops::NotDone;
use outcrop_core::Usage;
use outcrop_core::money::{PicoUsd, Terms};
use outcrop_policy::ledger::{Amounts, Dimension, Settled};
use outcrop_store::Administrator;
use outcrop_store::journal::JournalEntry;
use serde_json::{Value, json};

use super::{Desk, everywhere, failed};
use crate::config;

impl Desk {
    pub(super) async fn take_evidence(
        &self,
        order: &ReconcileOrder,
        who: &Administrator,
    ) -> Result<Value, NotDone> {
        match (&order.attempt, &order.replica, order.log.is_empty()) {
            (Some(attempt), None, true) => self.resolve(attempt, order, who).await,
            (None, Some(replica), true) => self.release(replica, who).await,
            (None, None, false) => self.take_log(&order.log, who).await,
            (Some(_) | None, Some(_) | None, _) => {
                Err(bad("give one kind of evidence: an attempt, records of an invocation log, or a replica"))
            }
        }
    }

    async fn resolve(
        &self,
        attempt: &str,
        order: &ReconcileOrder,
        who: &Administrator,
    ) -> Result<Value, NotDone> {
        let reason = order.reason.as_deref().unwrap_or_default().trim();
        if reason.is_empty() {
            return Err(bad("give a reason: it stands beside the cost for good"));
        }
        let suspended = self.suspended(who).await.map_err(|e| failed(&e))?;
        let found = suspended.iter().find(|entry| *entry.settled.attempt == *attempt);
        let Some(found) = found else {
            let text =
                format!("There is no attempt `{attempt}` in suspense; `outcrop budget show` lists them.");
            return Err(NotDone::new(StatusCode::NOT_FOUND, text));
        };
        let usage = Usage { input: order.input_tokens, output: order.output_tokens, ..Usage::default() };
        let nusd = match &order.cost {
            Some(text) => Some(cost(text)?),
            None => self.priced(&found.settled, &usage),
        };
        let nusd =
            nusd.ok_or_else(|| bad("give the cost, or both counts of tokens of a model with a price"))?;
        let actual = amounts(&found.settled, nusd, &usage)?;
        let made = self.store.resolve(attempt, actual, reason, &who.name).await.map_err(|e| failed(&e))?;
        Ok(json!({"resolved": [made]}))
    }

    async fn release(&self, replica: &str, who: &Administrator) -> Result<Value, NotDone> {
        everywhere(who)?;
        self.store.release_replica(replica, &who.name).await.map_err(|e| failed(&e))?;
        tracing::warn!(replica, by = &*who.name, "a replica was given up");
        Ok(json!({"released": replica}))
    }

    async fn take_log(&self, log: &[Value], who: &Administrator) -> Result<Value, NotDone> {
        let suspended = self.suspended(who).await.map_err(|e| failed(&e))?;
        let known = suspended.iter().filter(|entry| !entry.settled.entry.upstream_request_id.is_empty());
        let by_id: HashMap<&str, &JournalEntry> =
            known.map(|entry| (&*entry.settled.entry.upstream_request_id, entry)).collect();
        let (mut resolved, mut unmatched, mut refused) = (Vec::new(), 0_u64, Vec::new());
        for record in log {
            let id = record["requestId"].as_str().unwrap_or_default();
            let Some(entry) = by_id.get(id) else {
                unmatched += 1;
                continue;
            };
            match self.resolve_from(entry, &usage(record), who).await {
                Ok(made) => resolved.push(made),
                Err(NotDone { message, .. }) => refused.push(json!({"requestId": id, "message": message})),
            }
        }
        Ok(json!({"resolved": resolved, "unmatched": unmatched, "refused": refused}))
    }

    async fn resolve_from(
        &self,
        entry: &JournalEntry,
        usage: &Usage,
        who: &Administrator,
    ) -> Result<JournalEntry, NotDone> {
        let settled = &entry.settled;
        let nusd = self.priced(settled, usage);
        let nusd = nusd.ok_or_else(|| bad("the record has no whole usage, or its model has no price"))?;
        let actual = amounts(settled, nusd, usage)?;
        let made = self.store.resolve(&settled.attempt, actual, "the provider's invocation log", &who.name);
        made.await.map_err(|e| failed(&e))
    }

    /// What tokens cost by the row that is in force for the time of their admission.
    fn priced(&self, settled: &Settled, usage: &Usage) -> Option<i64> {
        let entry = &settled.entry;
        let snapshot = self.gateway.snapshot();
        let at = |spec: &&outcrop_policy::TargetSpec| {
            spec.path == entry.path && (spec.model_id == entry.target || spec.model_id.is_empty())
        };
        // A target of its own comes before the one that stands for every raw id.
        let specs = snapshot.routes.targets.iter().filter(at);
        let spec = specs.max_by_key(|spec| !spec.model_id.is_empty())?;
        let unix = u64::try_from(entry.at_ms / 1000).ok()?;
        let price = snapshot.routes.price_of(spec, &entry.target, unix)?;
        price.cost(usage, &Terms::default()).map(|nusd| nusd.0)
    }
}

/// The usage of one record; counts that are not there are unknown.
fn usage(record: &Value) -> Usage {
    let (input, output) = (&record["input"], &record["output"]);
    Usage {
        input: input["inputTokenCount"].as_u64(),
        output: output["outputTokenCount"].as_u64(),
        cache_read: input["cacheReadInputTokenCount"].as_u64(),
        cache_write: input["cacheWriteInputTokenCount"].as_u64(),
        ..Usage::default()
    }
}

/// What an attempt has really taken of every dimension that counts it.
fn amounts(settled: &Settled, nusd: i64, usage: &Usage) -> Result<Amounts, NotDone> {
    let line = |dimension: Dimension| {
        let end = format!("/{}", dimension.label());
        settled.lines.iter().find(|line| line.account.budget.ends_with(&end)).map(|line| line.amount)
    };
    let counts = [Dimension::Tokens, Dimension::InputTokens, Dimension::OutputTokens];
    if !usage.is_complete() && counts.into_iter().any(|dimension| line(dimension).is_some()) {
        return Err(bad("a budget counts the tokens of this attempt: give both counts"));
    }
    let tokens = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    Ok(Amounts {
        nusd,
        input_tokens: tokens(usage.input_total()),
        output_tokens: tokens(usage.output.unwrap_or(0)),
        requests: line(Dimension::Requests).unwrap_or(0),
        tool_calls: line(Dimension::ToolCalls).unwrap_or(0),
    })
}

/// `0.01 USD` in nano-dollars, rounded up.
fn cost(text: &str) -> Result<i64, NotDone> {
    let PicoUsd(pico) = config::cost(text).map_err(bad)?;
    i64::try_from(pico.div_ceil(1000)).map_err(|_| bad("this is more than there is"))
}

fn bad(message: impl Into<String>) -> NotDone {
    NotDone::new(StatusCode::BAD_REQUEST, message)
}
