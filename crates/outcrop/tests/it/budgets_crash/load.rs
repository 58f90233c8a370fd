//! Requests of every kind, at a pace and bounded in number.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::Method;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{
    api::APIS,
    client,
    house::{PATHS, within},
};

/// Requests that are under way at once at most.
pub(super) const AT_ONCE_MAX: usize = 32;
/// 200 a second.
const EVERY: Duration = Duration::from_millis(5);

/// The n-th request: another API, another path, whole or a stream. What its client was told: `""` for a
/// complete answer, `broken` for a connection that broke, else the error's code.
pub(super) async fn ask(address: SocketAddr, n: u64, more: &[(&str, &str)]) -> String {
    let pick = usize::try_from(n).unwrap();
    let (api, path) = (APIS[pick % APIS.len()], PATHS[pick / APIS.len() % PATHS.len()].0);
    let is_stream = n.is_multiple_of(2);
    let model = format!("on-{path}");
    let mut headers = vec![("content-type", "application/json"), ("x-outcrop-operation", "crash")];
    headers.extend(api.headers());
    headers.extend(more);
    let body = api.body(&model, "[[tokens=10]]", is_stream).to_string();
    let route = api.route(&model, is_stream);
    let asking = client::send(address, Method::POST, &route, &headers, body);
    let Ok(answer) = within("an answer or its end", asking).await else { return "broken".to_owned() };
    if !answer.whole {
        return "broken".to_owned();
    }
    let told = api.hear(&answer);
    match told.errors.into_iter().next() {
        Some((_, code)) => code,
        None if told.ends.is_empty() => "broken".to_owned(),
        None => String::new(),
    }
}

/// How often clients were told so.
pub(super) fn count(told: &[String], code: &str) -> i64 {
    i64::try_from(told.iter().filter(|told| *told == code).count()).unwrap()
}

/// Asks so many times at the pace; the requests go on.
pub(super) async fn paced(address: SocketAddr, from: u64, count: u64) -> JoinSet<String> {
    let room = Arc::new(Semaphore::new(AT_ONCE_MAX));
    let mut asking = JoinSet::new();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for n in from..from + count {
        ticks.tick().await;
        let permit = Arc::clone(&room).acquire_owned().await.unwrap();
        asking.spawn(async move {
            let _permit = permit;
            ask(address, n, &[]).await
        });
    }
    asking
}

/// Asks `count` times, a few at once, without a pace; what was told.
pub(super) async fn rush(addresses: &[SocketAddr], count: u64) -> Vec<String> {
    let room = Arc::new(Semaphore::new(AT_ONCE_MAX));
    let mut asking = JoinSet::new();
    for (n, address) in (0..count).zip(addresses.iter().copied().cycle()) {
        let permit = Arc::clone(&room).acquire_owned().await.unwrap();
        asking.spawn(async move {
            let _permit = permit;
            ask(address, n, &[]).await
        });
    }
    asking.join_all().await
}
