//! The table is walked: each route with every role, by both doors.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request as HttpRequest;
use jiff::Timestamp;
use outcrop_core::decision::Decision;
use outcrop_core::role::ROLES;
use outcrop_policy::Wanted;
use outcrop_policy::ledger::Totals;
use outcrop_store::keyed::{CallEnd, KeyedCall};
use outcrop_store::{KeyDesk, Location, Pepper, Register, Store};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::*;
use crate::budgets::{Budgeting, LimitOrder, ReconcileOrder, SpendQuery, Which};
use crate::steering::{FlagOrder, ForceOrder, Steering};
use crate::stops::{Answering, NotDone, ResumeOrder, StopOrder, Stopping};
use crate::{Impact, impact};
use crate::{Keys, LoadView, PathView, Readiness, TargetView, budgets, keyed, keys, router, steering, stops};

/// A view that takes the name of a role for a key of that role.
struct Named {
    asks_for_keys: bool,
}

impl View for Named {
    fn asks_for_keys(&self) -> bool {
        self.asks_for_keys
    }
    fn administrator(&self, key: &str) -> Option<Administrator> {
        Some(Administrator { role: Role::parse(key)?, ..Administrator::of_the_machine(key) })
    }
    fn readiness(&self) -> Readiness {
        Readiness { ready: true, reasons: Vec::new(), snapshot: 1 }
    }
    fn paths(&self) -> Vec<PathView> {
        Vec::new()
    }
    fn targets(&self) -> Vec<TargetView> {
        Vec::new()
    }
    fn load(&self) -> LoadView {
        LoadView::default()
    }
    fn totals(&self) -> Totals {
        Totals::default()
    }
    fn decision(&self, _: &str) -> Option<Arc<Decision>> {
        None
    }
    fn decisions(&self, _: &Wanted, _: usize) -> Vec<Arc<Decision>> {
        Vec::new()
    }
    fn open_metrics(&self) -> String {
        "# EOF\n".to_owned()
    }
}

/// Carries out every order.
struct Obedient;

impl Stopping for Obedient {
    fn list(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
    fn stop(&self, _: StopOrder, _: Administrator) -> Answering {
        Box::pin(async { Ok(serde_json::Value::Null) })
    }
    fn resume(&self, _: ResumeOrder, _: Administrator) -> Answering {
        Box::pin(async { Ok(serde_json::Value::Null) })
    }
}

impl Budgeting for Obedient {
    fn show(&self, _: Which, _: Administrator) -> Answering {
        Box::pin(async { Ok(serde_json::Value::Null) })
    }
    fn set(&self, _: LimitOrder, _: Administrator) -> Answering {
        Box::pin(async { Ok(serde_json::Value::Null) })
    }
    fn reconcile(&self, _: ReconcileOrder, _: Administrator) -> Answering {
        Box::pin(async { Ok(serde_json::Value::Null) })
    }
    fn spend(&self, _: SpendQuery, _: Administrator) -> Answering {
        Box::pin(async { Ok(serde_json::Value::Null) })
    }
    fn alerts(&self, _: Administrator) -> Answering {
        Box::pin(async { Ok(serde_json::Value::Null) })
    }
    fn confirm_clock(&self, _: Administrator) -> Answering {
        Box::pin(async { Ok(serde_json::Value::Null) })
    }
}

impl Impact for Obedient {
    fn report(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}

impl Steering for Obedient {
    fn explain(&self, _: serde_json::Value) -> Result<serde_json::Value, NotDone> {
        Ok(serde_json::Value::Null)
    }
    fn force(&self, _: &str, _: &ForceOrder, _: &Administrator) -> Result<serde_json::Value, NotDone> {
        Ok(serde_json::Value::Null)
    }
    fn flags(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
    fn turn(&self, _: FlagOrder, _: Administrator) -> Answering {
        Box::pin(async { Ok(serde_json::Value::Null) })
    }
    fn recommendations(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}

/// A store that knows one key of a keyed call.
async fn with_a_key() -> Store {
    let store = Store::open(&Location::Memory, &TaskTracker::new()).await.unwrap();
    let [caller, key, tool, fingerprint, ticket] = ["ada", "k", "t", "f", "1"].map(Arc::from);
    let call = KeyedCall { caller, key, tool, fingerprint, ticket };
    store.begin_call(call.clone(), Duration::from_secs(1)).await.unwrap();
    store.end_call(call, CallEnd::Unknown).await.unwrap();
    store
}

async fn ask(asks_for_keys: bool, door: Door, method: &Method, path: &str, key: Option<&str>) -> u16 {
    let desk = KeyDesk::new(Register::in_memory(), Pepper::new(b"pepper"));
    let more = keys(Keys { desk: Some(desk), is_kept: true, now: || Timestamp::UNIX_EPOCH });
    let more = more.merge(stops(Arc::new(Obedient))).merge(budgets(Arc::new(Obedient)));
    let more = more.merge(steering(Arc::new(Obedient)));
    let more = more.merge(keyed(with_a_key().await));
    let more = more.merge(impact(Arc::new(Obedient)));
    let mut request =
        HttpRequest::builder().method(method).uri(path).header("content-type", "application/json");
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let order = match path {
        "/admin/v1/keys" => r#"{"name":"ci"}"#,
        "/admin/v1/keyed/clear" => r#"{"caller":"ada","key":"k"}"#,
        "/admin/v1/budgets" => r#"{"budget":"all"}"#,
        "/admin/v1/flags" => r#"{"flag":"hedging","on":true}"#,
        path if path.ends_with("/force") => r#"{"state":null}"#,
        _ => "{}",
    };
    let body = Body::from(order);
    let answer = router(Arc::new(Named { asks_for_keys }), more, door).oneshot(request.body(body).unwrap());
    answer.await.unwrap().status().as_u16()
}

/// Past the check: the route itself answers, be it that it finds nothing.
fn passed(status: u16, path: &str) -> bool {
    matches!(status, 200 | 201) || (status == 404 && path.contains("{}"))
}

#[tokio::test]
async fn each_route_needs_the_role_that_the_table_names() {
    for (method, path, needed) in ROUTES {
        if *needed == Need::TheSocket {
            continue;
        }
        let concrete = path.replace("{}", "nothing");
        for role in ROLES {
            let status = ask(true, Door::Network, method, &concrete, Some(role.label())).await;
            match needed {
                Need::As(needed) if !role.may_act_as(*needed) => {
                    assert_eq!(status, 403, "{method} {path} {role:?}");
                }
                Need::As(_) | Need::Nothing | Need::TheSocket => {
                    assert!(passed(status, path), "{method} {path} {role:?}: {status}");
                }
            }
        }
        for key in [None, Some("nobody"), Some("")] {
            let status = ask(true, Door::Network, method, &concrete, key).await;
            let refused = *needed != Need::Nothing;
            assert_eq!(status == 401, refused, "{method} {path} {key:?}: {status}");
            assert!(refused || passed(status, path), "{method} {path} {key:?}: {status}");
        }
        let by_socket = ask(true, Door::Operator, method, &concrete, None).await;
        assert!(passed(by_socket, path), "{method} {path} by the socket: {by_socket}");
        let open = ask(false, Door::Network, method, &concrete, None).await;
        assert!(passed(open, path), "{method} {path} open: {open}");
    }
}

#[tokio::test]
async fn what_is_for_the_socket_is_for_nobody_else() {
    for (method, path, _) in ROUTES.iter().filter(|(_, _, needed)| *needed == Need::TheSocket) {
        for asks_for_keys in [false, true] {
            let status = ask(asks_for_keys, Door::Network, method, path, Some("admin")).await;
            assert_eq!(status, 403, "{method} {path}");
            let status = ask(asks_for_keys, Door::Operator, method, path, None).await;
            assert_ne!(status, 403, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn what_is_not_in_the_table_is_denied_even_to_an_admin() {
    for (method, path) in [
        (Method::DELETE, "/admin/v1/keys"),
        (Method::PUT, "/admin/v1/keys"),
        (Method::GET, "/admin/v1/keys/a/b"),
        (Method::GET, "/admin/v1/keys/"),
        (Method::GET, "/admin/v1/nothing"),
        (Method::POST, "/healthz"),
        (Method::GET, "//healthz"),
        (Method::GET, "/admin/v1/decisions/"),
    ] {
        for door in [Door::Operator, Door::Network] {
            assert_eq!(ask(true, door, &method, path, Some("admin")).await, 404, "{method} {path}");
        }
    }
    assert_eq!(ask(true, Door::Network, &Method::HEAD, "/admin/v1/paths", None).await, 401);
}
