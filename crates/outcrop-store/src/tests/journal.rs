//! What people ask: entries, costs, paces, corrections, and what is forgotten.

use outcrop_policy::Facet;
use outcrop_policy::ledger::{Amounts, Dimension, EntryState, Window};

use super::ledger::{Replica, START_MS, balances, budget};
use crate::journal::{Attributed, EntryFilter, Group, PACE_SLOT_MS};
use crate::{Store, StoreError};

async fn two_attempts(store: &Store) -> Replica {
    let replica =
        Replica::begin(store, "a", vec![budget("all", Window::Lifetime, Dimension::Usd, 1_000)]).await;
    for (attempt, state) in [("known", EntryState::Posted), ("lost", EntryState::Suspense)] {
        let reserved = replica.claim(store, 100).await.unwrap();
        replica.settle(&reserved, attempt, state, 30);
    }
    replica.tell(store).await;
    replica
}

pub(super) async fn corrects_with_evidence_once(store: Store) {
    two_attempts(&store).await;
    let truth = Amounts { nusd: 70, input_tokens: 5, output_tokens: 6, ..Amounts::default() };
    for _ in 0..2 {
        let made = store.resolve("lost", truth, "the provider's log", "ada").await.unwrap();
        assert!(store.is_genuine(&made, &truth));
        assert!(!store.is_genuine(&made, &Amounts { nusd: 71, ..truth }));
    }
    let (_, stands) = balances(&store, START_MS).await.pop().unwrap();
    assert_eq!((stands.posted, stands.suspense), (100, 0));
    for (attempt, nusd) in [("lost", 71), ("known", 30), ("nothing", 1)] {
        let refused = store.resolve(attempt, Amounts { nusd, ..truth }, "", "ada").await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{attempt}: {refused:?}");
    }
    let suspended = EntryFilter { state: Some(EntryState::Suspense), limit: 10, ..EntryFilter::default() };
    assert_eq!(store.entries(suspended).await.unwrap(), []);
    let slot = START_MS / PACE_SLOT_MS * PACE_SLOT_MS;
    let pace = store.pace("all/lifetime/USD", "all", slot, slot + 1).await.unwrap();
    assert_eq!(pace.iter().map(|pace| (pace.posted, pace.suspense)).collect::<Vec<_>>(), [(100, 0)]);
}

pub(super) async fn answers_what_people_ask(store: Store) {
    two_attempts(&store).await;
    let groups = vec![Group::Facet(Facet::Key), Group::Facet(Facet::Region), Group::Day];
    let costs = store.attribution(groups, START_MS, START_MS + 1).await.unwrap();
    let day = (START_MS / 86_400_000 * 86_400_000).to_string();
    let expected = Attributed {
        group: vec!["ci".to_owned(), String::new(), day],
        attempts: 2,
        posted_nusd: 30,
        suspense_nusd: 100,
        estimated_nusd: 0,
        input_tokens: 0,
        output_tokens: 0,
    };
    assert_eq!(costs, [expected]);
    assert_eq!(store.attribution(Vec::new(), 0, START_MS).await.unwrap()[0].attempts, 0);
    let count = async |filter: EntryFilter| store.entries(filter).await.unwrap().len();
    let all = EntryFilter { limit: 10, ..EntryFilter::default() };
    let of = |facet, value: &str| EntryFilter { facets: vec![(facet, value.to_owned())], ..all.clone() };
    assert_eq!(count(all.clone()).await, 2);
    assert_eq!(count(EntryFilter { limit: 1, ..all.clone() }).await, 1);
    assert_eq!(count(EntryFilter { to_ms: Some(START_MS), ..all.clone() }).await, 0);
    assert_eq!(count(EntryFilter { id: Some("lost".to_owned()), ..all.clone() }).await, 1);
    assert_eq!(count(of(Facet::Key, "ci")).await, 2);
    assert_eq!(count(of(Facet::Region, "eu")).await, 0);
    assert_eq!(count(of(Facet::Team, "x' OR ''='")).await, 0);
    let replicas = store.replicas().await.unwrap();
    assert_eq!((replicas.len(), &*replicas[0].id, replicas[0].leases), (1, "a", 1));
}

pub(super) async fn forgets_what_is_old_but_no_suspense(store: Store) {
    two_attempts(&store).await;
    assert_eq!(store.prune(START_MS).await.unwrap(), 0);
    while store.prune(START_MS + 1).await.unwrap() > 0 {}
    let left = store.entries(EntryFilter { limit: 10, ..EntryFilter::default() }).await.unwrap();
    assert_eq!(left.iter().map(|entry| &*entry.settled.attempt).collect::<Vec<_>>(), ["lost"]);
    let (_, stands) = balances(&store, START_MS).await.pop().unwrap();
    assert_eq!((stands.posted, stands.suspense), (30, 100), "what is spent stays spent");
}
