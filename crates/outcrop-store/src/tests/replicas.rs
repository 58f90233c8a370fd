//! Several replicas on one PostgreSQL: a limit holds for all of them together.

use std::sync::Arc;
use std::time::Duration;

use outcrop_policy::Attribution;
use outcrop_policy::ledger::{Dimension, EntryState, Now, Shortfall, Window};
use tokio::runtime::Runtime;
use tokio_util::task::TaskTracker;

use super::home::{Home, Server};
use super::ledger::{balances, budget, claim};
use crate::keeper::{LEASES_VALID, Setup};
use crate::{DispatchLog, Keeper, Location, Store, StoreError};

const LIMIT: i64 = 100;

/// A replica with a runtime of its own, so that it can be ended at any moment.
struct Replica {
    runtime: Runtime,
    keeper: Keeper,
}

impl Replica {
    fn start(location: &Location) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let keeper = runtime.block_on(async {
            let tasks = TaskTracker::new();
            let store = Store::open(location, &tasks).await.unwrap();
            let budgets = vec![budget("all", Window::Lifetime, Dimension::Usd, LIMIT)];
            let setup = Setup { budgets, concurrency_max: 1_000, retention: Duration::from_hours(24) };
            Keeper::start(&store, DispatchLog::in_memory(1_000), setup, &tasks).await.unwrap()
        });
        Self { runtime, keeper }
    }

    /// Claims one unit after the other until there is no more; how many it got, and how many of them it
    /// has settled (every other one).
    async fn use_up(keeper: Keeper, name: &'static str) -> i64 {
        let whose = Attribution { key: "ci".into(), ..Attribution::default() };
        let mut health = keeper.health();
        let (mut got, mut waited) = (0, None);
        loop {
            match keeper.ledger().reserve(&claim(&whose, 1, waited), keeper.now()) {
                Ok(reserved) => {
                    (got, waited) = (got + 1, None);
                    if got % 2 == 0 {
                        let entry = outcrop_policy::ledger::Entry { cost_nusd: 1, ..Default::default() };
                        let actual = outcrop_policy::ledger::Amounts { nusd: 1, ..Default::default() };
                        let attempt = format!("{name} {got}");
                        let settled = reserved.settled(&*attempt, EntryState::Posted, entry, &actual);
                        keeper.ledger().settle(&reserved, settled);
                    }
                }
                Err(Shortfall::Wait(ticket)) => {
                    keeper.wake();
                    waited = Some(ticket);
                    health.wait_for(|health| health.answered >= ticket || !health.ok).await.unwrap();
                }
                Err(Shortfall::Exceeded(_)) => return got,
                Err(other) => panic!("{other:?}"),
            }
            tokio::task::yield_now().await;
        }
    }
}

async fn silence(server: &Server, replica: &str) {
    server.run(&format!("UPDATE replica SET seen_ms = 1 WHERE id = '{replica}'")).await;
}

#[test]
fn two_replicas_never_exceed_a_limit_and_a_silent_one_keeps_its_lease() {
    let home = Home::postgres();
    let Home::Postgres(server) = &home else { unreachable!() };
    let watching = Runtime::new().unwrap();
    let store = watching.block_on(home.open());
    let (first, second) = (Replica::start(&home.location()), Replica::start(&home.location()));
    let first_id = Arc::clone(first.keeper.dispatch().replica());

    // The first takes a few and dies without a word.
    let got_first = first.runtime.block_on(async {
        let whose = Attribution { key: "ci".into(), ..Attribution::default() };
        let (mut health, mut got) = (first.keeper.health(), 0);
        while got < 3 {
            match first.keeper.ledger().reserve(&claim(&whose, 1, None), first.keeper.now()) {
                Ok(_reserved) => got += 1,
                Err(Shortfall::Wait(ticket)) => {
                    first.keeper.wake();
                    health.wait_for(|health| health.answered >= ticket).await.unwrap();
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        got
    });
    let stale = first.keeper.now();
    let late = Now { mono: stale.mono + LEASES_VALID + Duration::from_millis(20), ..stale };
    first.runtime.shutdown_background();
    assert!(!first.keeper.ledger().is_valid(late), "nobody may use a lease of one that is not heard");

    let got_second = second.runtime.block_on(Replica::use_up(second.keeper.clone(), "second"));
    let held = LIMIT - got_second;
    assert!(held >= got_first, "{got_first} + {got_second} of {LIMIT}");
    let leased_to_first = watching.block_on(async {
        silence(server, &first_id).await;
        let (row, _) =
            store.accounts(crate::AccountFilter::default(), stale.wall_ms).await.unwrap().remove(0);
        let lease = row.leases.iter().find(|lease| lease.replica == first_id).unwrap();
        lease.granted[0] - lease.spent[0]
    });
    assert_eq!(held, leased_to_first, "what it holds stays counted, and nothing else does");

    // An operator gives it up: what it held is in suspense, and it is not heard any more.
    watching.block_on(async {
        let live = Arc::clone(second.keeper.dispatch().replica());
        let refused = store.release_replica(&live, "ada").await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "a live one is not released");
        store.release_replica(&first_id, "ada").await.unwrap();
    });
    second.runtime.block_on(second.keeper.shutdown());
    let (_, stands) = watching.block_on(balances(&store, stale.wall_ms)).remove(0);
    assert_eq!(stands.suspense, held);
    assert_eq!(stands.posted, got_second / 2);
    assert_eq!(stands.posted + stands.suspense + stands.leased, held + got_second, "open ones stay leased");
}

#[test]
fn both_at_once_get_no_more_than_the_limit() {
    let home = Home::postgres();
    let replicas: Vec<Replica> = (0..2).map(|_| Replica::start(&home.location())).collect();
    let used: Vec<_> = replicas
        .iter()
        .zip(["a", "b"])
        .map(|(replica, name)| replica.runtime.spawn(Replica::use_up(replica.keeper.clone(), name)))
        .collect();
    let got = replicas[0].runtime.block_on(async {
        let mut got = 0;
        for one in used {
            got += one.await.unwrap();
        }
        got
    });
    // At the end one may hold a lease that the other would have wanted.
    assert!((LIMIT / 2..=LIMIT).contains(&got), "{got} of {LIMIT}");
    for replica in &replicas {
        replica.runtime.block_on(replica.keeper.shutdown());
    }
}
