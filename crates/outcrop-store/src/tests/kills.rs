//! Processes that are ended in the middle of everything: what was sent is counted, what was not is free.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use outcrop_policy::Attribution;
use outcrop_policy::ledger::{Amounts, Balance, Dimension, Entry, EntryState, Reserved, Shortfall, Window};
use tokio_util::task::TaskTracker;

use super::child;
use super::ledger::{Dice, balances, budget, claim};
use crate::keeper::Setup;
use crate::{DispatchLog, Keeper, Location, Store};

const ROUNDS: u64 = 12;
const SLOTS: usize = 64;

async fn keeper(folder: &Path) -> (Store, Keeper) {
    let (location, tasks) = (Location::Sqlite(folder.join("a.db")), TaskTracker::new());
    let store = Store::open(&location, &tasks).await.unwrap();
    let log = DispatchLog::open(&location.dispatch_log().unwrap(), SLOTS).unwrap();
    let budgets = vec![budget("all", Window::Lifetime, Dimension::Usd, 1_000_000_000)];
    let setup = Setup { budgets, concurrency_max: SLOTS, retention: Duration::from_hours(24) };
    let keeper = Keeper::start(&store, log, setup, &tasks).await.unwrap();
    (store, keeper)
}

/// In the child: attempts one after the other, until it is ended. It says what is about to be sent
/// before it is noted, and that it is sent after.
#[allow(clippy::print_stdout, reason = "it is the billing record, and the parent reads it")]
async fn spend(folder: &Path, round: u64) {
    let (_store, keeper) = keeper(folder).await;
    let whose = Attribution { key: "ci".into(), ..Attribution::default() };
    let (mut dice, mut health, mut waited) = (Dice(round), keeper.health(), None);
    let mut held = VecDeque::new();
    for n in 0.. {
        let bound = 10 + i64::try_from(dice.below(90)).unwrap();
        let reserved = match keeper.ledger().reserve(&claim(&whose, bound, waited), keeper.now()) {
            Ok(reserved) => reserved,
            Err(Shortfall::Wait(ticket)) => {
                keeper.wake();
                waited = Some(ticket);
                health.wait_for(|health| health.answered >= ticket).await.unwrap();
                continue;
            }
            Err(other) => panic!("{other:?}"),
        };
        waited = None;
        let Some(slot) = keeper.dispatch().take() else {
            keeper.ledger().void(&reserved);
            end_oldest(&keeper, &mut held);
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        let attempt = format!("{round}/{n}");
        let entry = Entry { at_ms: reserved.at_ms, bound_nusd: bound, cost_nusd: bound, ..Entry::default() };
        let stands = reserved.settled(&*attempt, EntryState::Suspense, entry.clone(), &Amounts::default());
        println!("noting {attempt} {bound}");
        keeper.dispatch().write(&slot, &stands).unwrap();
        if dice.below(10) == 0 {
            keeper.dispatch().clear(slot);
            keeper.ledger().void(&reserved);
            continue;
        }
        let cost = i64::try_from(dice.below(10)).unwrap();
        println!("sent {attempt} {cost}");
        held.push_back((reserved, attempt, entry, cost));
        if dice.below(3) > 0 {
            end_oldest(&keeper, &mut held);
        }
        tokio::task::yield_now().await;
    }
}

fn end_oldest(keeper: &Keeper, held: &mut VecDeque<(Reserved, String, Entry, i64)>) {
    let Some((reserved, attempt, mut entry, cost)) = held.pop_front() else { return };
    entry.cost_nusd = cost;
    let actual = Amounts { nusd: cost, ..Amounts::default() };
    keeper.ledger().settle(&reserved, reserved.settled(&*attempt, EntryState::Posted, entry, &actual));
}

/// Lines of the child: the first number for each attempt under each word.
type Said = BTreeMap<(String, String), i64>;

fn read_until_killed(folder: &Path, round: u64, said: &mut Said) {
    let name = "tests::kills::what_was_sent_is_counted_and_what_was_not_is_free";
    let part = format!("{round} {}", folder.display());
    let mut child = child::command(name, &part).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines_left = 20 + 37 * round;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        if let [word @ ("noting" | "sent"), attempt, amount] = words[..] {
            said.insert((word.to_owned(), attempt.to_owned()), amount.parse().unwrap());
        }
        lines_left = lines_left.saturating_sub(1);
        if lines_left == 0 {
            // As `kill -9` does; what it said until then is still read.
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
}

fn sum(said: &Said, word: &str) -> i64 {
    said.iter().filter(|((of, _), _)| of == word).map(|(_, amount)| amount).sum()
}

async fn stands_after_recovery(folder: &Path) -> Balance {
    let (store, keeper) = keeper(folder).await;
    let now_ms = keeper.ledger().time_ms(keeper.now());
    let (_, stands) = balances(&store, now_ms).await.remove(0);
    assert_eq!(keeper.dispatch().in_flight(), 0);
    keeper.shutdown().await;
    store.close().await;
    stands
}

#[tokio::test]
async fn what_was_sent_is_counted_and_what_was_not_is_free() {
    if let Some(part) = child::part() {
        let (round, folder) = part.split_once(' ').unwrap();
        return spend(Path::new(folder), round.parse().unwrap()).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut said = Said::new();
    for round in 1..=ROUNDS {
        read_until_killed(folder.path(), round, &mut said);
        let stands = stands_after_recovery(folder.path()).await;
        let committed = stands.posted + stands.suspense;
        let billed = sum(&said, "sent");
        assert!(committed >= billed, "round {round}: {stands:?} for {billed} billed");
        assert_eq!((stands.leased, stands.pending), (0, 0), "round {round}: nothing stays leased");
        // Whatever is in suspense was about to be sent: its upper bounds cover it.
        assert!(committed <= sum(&said, "noting"), "round {round}: {stands:?}");
        assert_eq!(stands_after_recovery(folder.path()).await, stands, "recovering twice is recovering once");
    }
    assert!(said.len() > 1_000, "only {} lines", said.len());
}
