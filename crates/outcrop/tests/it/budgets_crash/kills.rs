//! `kill -9` under load, again and again, on the same store.

use outcrop_lab::Lab;

use super::{
    load::{AT_ONCE_MAX, count, paced, rush},
    place::{Place, SQLITE, bill, hard, paced_lab},
    stands::{Billed, Stands, attempts, stands},
};
use crate::house::Setup;

/// Kills, unless `OUTCROP_KILLS` says otherwise.
const KILLS: u64 = 12;
/// What is left for the end.
const LEFT: i64 = 100;

fn kills() -> u64 {
    std::env::var("OUTCROP_KILLS").map_or(KILLS, |text| text.parse().unwrap())
}

fn setup(requests: i64) -> Setup {
    let more = hard("5000 USD") + &hard(&format!("{requests} requests"));
    Setup { store: SQLITE.to_owned(), more, ..Setup::default() }
}

/// What the store of a gateway that has started, and has no work yet, must say.
fn judge(place: &Place, round: u64, billed: Billed) -> (Stands, Stands) {
    let [usd, requests] = ["usd", "requests"].map(|dimension| stands(&place.database(), dimension));
    for (stands, billed) in [(&usd, billed.nusd), (&requests, billed.executed)] {
        assert!(stands.posted <= billed, "kill {round}: more posted than billed: {stands:?}, {billed}");
        assert!(billed <= stands.committed(), "kill {round}: billed and not counted: {stands:?}, {billed}");
        assert_eq!((stands.leased, stands.pending), (0, 0), "kill {round}: blocked for nothing: {stands:?}");
    }
    let (all, different) = attempts(&place.database());
    assert_eq!((all, different), (requests.committed(), requests.committed()), "each attempt is there once");
    let unseen = requests.committed() - billed.arrived;
    let on_the_way = i64::try_from((round + 1) * AT_ONCE_MAX as u64).unwrap();
    assert!(requests.suspense <= on_the_way, "kill {round}: {requests:?}");
    assert!(unseen <= requests.suspense, "what the lab never saw cannot be posted: {requests:?}, {billed:?}");
    (usd, requests)
}

/// Spends the rest; nothing more fits, and nothing less was let through.
async fn use_up(lab: &Lab, place: &Place, before: &Stands) {
    let executed = bill(lab).await.executed;
    let limit = before.committed() + LEFT;
    place.configure(lab, setup(limit));
    let gateway = place.start().await;
    let told = rush(&[gateway.data], 3 * u64::try_from(LEFT).unwrap()).await;
    assert_eq!((count(&told, ""), count(&told, "budget_exceeded")), (LEFT, 2 * LEFT), "{told:?}");
    assert_eq!(bill(lab).await.executed, executed + LEFT, "to the last request and not beyond");
    assert_eq!(gateway.terminate().await, Some(0));
    let at_last = stands(&place.database(), "requests");
    let expected = Stands { posted: before.posted + LEFT, limit, ..before.clone() };
    assert_eq!(at_last, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gateway_has_counted_what_was_billed_and_blocks_nothing_else() {
    let lab = paced_lab().await;
    let place = Place::new(&lab, setup(1_000_000));
    let (mut asked, mut passed) = (0, 0);
    let mut last = Stands::default();
    let mut money = Stands::default();
    let mut gateway = place.start().await;
    for round in 0..kills() {
        let wanted = 20 + round * 37 % 61;
        let asking = paced(gateway.data, asked, wanted).await;
        asked += wanted;
        gateway.kill().await;
        let told = asking.join_all().await;
        passed += count(&told, "");
        assert!(told.iter().all(|told| told.is_empty() || told == "broken"), "kill {round}: {told:?}");
        gateway = place.start().await;
        (money, last) = judge(&place, round, bill(&lab).await);
    }
    gateway.kill().await;
    let billed = bill(&lab).await;
    let kills = kills();
    eprintln!(
        "{kills} kills, {asked} asked, {passed} passed, {billed:?}; money {money:?}; requests {last:?}"
    );
    assert!(last.suspense > 0, "nothing was under way at any kill");
    use_up(&lab, &place, &last).await;
}
