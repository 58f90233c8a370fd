//! Orders about routing: explained decisions, held targets, turned flags.
//!
//! Each order is logged with who gave it, before and after, as emergency stops are. Nobody turns what is
//! not his: a key that manages one team cannot switch a path off for all.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use outcrop_admin::steering::{FlagOrder, ForceOrder, Steering};
use outcrop_admin::stops::{Answering, NotDone, may_order};
use outcrop_policy::route::target_name;
use outcrop_policy::{Flag, Scope};
use outcrop_proxy::explain::World;
use outcrop_proxy::{Described, Gateway, explain};
use outcrop_store::Administrator;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::clock::unix_ms;
use crate::impacting::Impacting;
use crate::optimizing::Optimizing;
use crate::overlay::{Overlay, Turned};

/// Longest wait for the register.
const DONE_MAX: Duration = Duration::from_secs(10);
/// Longest reason, in characters.
const TEXT_CHARS_MAX: usize = 300;

/// The operator's handle.
pub(crate) struct Helm {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) overlay: Overlay,
    pub(crate) optimizing: Optimizing,
    pub(crate) impacting: Impacting,
    /// Whether the register outlives the process.
    pub(crate) is_kept: bool,
}

impl Steering for Helm {
    fn explain(&self, described: Value) -> Result<Value, NotDone> {
        let described: Described = serde_json::from_value(described)
            .map_err(|error| NotDone::new(StatusCode::BAD_REQUEST, format!("the description: {error}")))?;
        let snapshot = self.gateway.snapshot();
        let world = World {
            routes: &snapshot.routes,
            snapshot: snapshot.version,
            health: Some(&self.gateway.health),
            unix: Duration::from_millis(unix_ms()),
        };
        let explained = explain(world, &described)
            .map_err(|failure| NotDone::new(StatusCode::BAD_REQUEST, failure.message.to_string()))?;
        Ok(json!(explained))
    }

    fn force(&self, target: &str, order: &ForceOrder, who: &Administrator) -> Result<Value, NotDone> {
        let path = self.path_of(target).ok_or_else(|| {
            NotDone::new(
                StatusCode::NOT_FOUND,
                format!("There is no target `{target}`; GET /admin/v1/targets lists them."),
            )
        })?;
        allowed(who, &Flag::Path(path))?;
        let now = Instant::now().into_std();
        let before = self.gateway.health.report(target, now);
        let change = self.gateway.health.force(target, order.state, now);
        let after = self.gateway.health.report(target, now);
        if change.is_some() {
            self.gateway.metrics.breaker_transition(target, after.breaker.label());
        }
        let word = |forced: Option<outcrop_policy::health::Forced>| forced.map_or("released", |f| f.label());
        tracing::warn!(
            target_name = target,
            by = &*who.name,
            from = word(before.forced),
            to = word(after.forced),
            reason = plain(order.reason.as_deref()),
            breaker = after.breaker.label(),
            "target forced"
        );
        Ok(json!({"target": target, "forced": after.forced, "breaker": after.breaker, "was": before.forced}))
    }

    fn flags(&self) -> Value {
        json!(self.overlay.rows())
    }

    fn turn(&self, order: FlagOrder, who: Administrator) -> Answering {
        let (overlay, is_kept) = (self.overlay.clone(), self.is_kept);
        Box::pin(async move { turn(&overlay, &order, &who, is_kept).await })
    }

    fn recommendations(&self) -> Value {
        let tunings = self.optimizing.recommendations();
        let tunings = tunings.as_array().into_iter().flatten().cloned();
        tunings.chain(self.impacting.advice()).collect()
    }
}

impl Helm {
    /// The path of a target that is configured, or of a raw id on a path that takes them.
    fn path_of(&self, target: &str) -> Option<Box<str>> {
        let snapshot = self.gateway.snapshot();
        let (path, id) = target.split_once('/')?;
        let specs = &snapshot.routes.targets;
        let fits = |spec: &outcrop_policy::TargetSpec| {
            target_name(&spec.path, &spec.model_id) == target
                || (spec.model_id.is_empty() && *spec.path == *path)
        };
        (!id.is_empty() && specs.iter().any(fits)).then(|| path.into())
    }
}

async fn turn(
    overlay: &Overlay,
    order: &FlagOrder,
    who: &Administrator,
    is_kept: bool,
) -> Result<Value, NotDone> {
    let flag = Flag::parse(&order.flag);
    let known = flag.and_then(|flag| Some((overlay.stands(&flag)?, flag)));
    let (was, flag) = known.ok_or_else(|| unknown_flag(overlay, &order.flag))?;
    allowed(who, &flag)?;
    let at_ms = unix_ms();
    let reason = order.reason.as_ref().map(|reason| plain(Some(reason)));
    let by = who.name.to_string();
    let turned = order.on.map(|on| Turned { on, was, by, at_ms, reason: reason.clone() });
    let done = tokio::time::timeout(DONE_MAX, overlay.turn(&flag, turned.as_ref())).await;
    if !matches!(done, Ok(Ok(()))) {
        let cause = done.map_or_else(|_| "it does not answer in time".into(), |r| format!("{:?}", r.err()));
        tracing::error!(flag = %flag, by = &*who.name, cause, "a flag was not turned");
        let text =
            "The flag was not turned: the store did not take the change; look at the list, then try again.";
        return Err(NotDone::new(StatusCode::SERVICE_UNAVAILABLE, text));
    }
    let on = overlay.stands(&flag).unwrap_or(was);
    tracing::warn!(
        flag = %flag, by = &*who.name, from = was, to = on, reset = order.on.is_none(),
        reason = reason.unwrap_or_default(), "flag turned"
    );
    Ok(json!({"flag": order.flag, "on": on, "was": was, "set": turned, "durable": is_kept}))
}

fn unknown_flag(overlay: &Overlay, name: &str) -> NotDone {
    let known: Vec<String> = overlay.rows().into_iter().map(|row| row.flag).collect();
    let near = known.iter().min_by_key(|known| strsim::damerau_levenshtein(known, name));
    let near = near.map(|near| format!(" Did you mean `{near}`?")).unwrap_or_default();
    NotDone::new(
        StatusCode::NOT_FOUND,
        format!("There is no flag `{name}`.{near} GET /admin/v1/flags lists them."),
    )
}

/// Nobody turns what is not his.
fn allowed(who: &Administrator, flag: &Flag) -> Result<(), NotDone> {
    let scope = match flag {
        Flag::Switch(_) => Scope::all(),
        Flag::Path(_) | Flag::Model(_) | Flag::Operation(_) => {
            Scope::parse(&flag.to_string()).unwrap_or_else(|_| Scope::all())
        }
    };
    may_order(who, &scope)
}

/// A reason as it may stand in a log and in an answer.
fn plain(text: Option<&str>) -> String {
    text.unwrap_or("no reason was given").chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(manages: &[&str], flag: &str, expected: bool) {
        let manages = manages.iter().map(|scope| Scope::parse(scope).unwrap()).collect();
        let who = Administrator { manages, ..Administrator::of_the_machine("ops") };
        assert_eq!(allowed(&who, &Flag::parse(flag).unwrap()).is_ok(), expected, "{who:?} {flag}");
    }

    #[test]
    fn nobody_turns_what_is_not_his() {
        check(&[], "hedging", true);
        check(&["all"], "hedging", true);
        check(&["team:blue"], "hedging", false);
        check(&["team:blue"], "path:fra", false);
        check(&["path:fra"], "path:fra", true);
        check(&["path:fra"], "path:dub", false);
        check(&["model:sonnet"], "model:sonnet", true);
        check(&["operation:background"], "operation:background", true);
    }
}
