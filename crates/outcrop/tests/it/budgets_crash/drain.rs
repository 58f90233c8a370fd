//! SIGTERM: what runs is settled, and what was lent is given back.

use super::{
    load::{count, paced},
    place::{Place, SQLITE, bill, hard, paced_lab},
    stands::{Stands, stands},
};
use crate::house::Setup;

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_settles_everything_and_gives_the_leases_back() {
    const ASKED: u64 = 60;
    let lab = paced_lab().await;
    let more = hard("1000 requests") + &hard("1000 USD");
    let place = Place::new(&lab, Setup { store: SQLITE.to_owned(), more, ..Setup::default() });
    let gateway = place.start().await;
    let asking = paced(gateway.data, 0, ASKED).await;
    assert_eq!(gateway.terminate().await, Some(0));
    let told = asking.join_all().await;
    let billed = bill(&lab).await;
    assert!(billed.executed > 0 && count(&told, "") == billed.executed, "{billed:?}: {told:?}");
    for start in [false, true] {
        let again = if start { Some(place.start().await) } else { None };
        for (dimension, posted, limit) in
            [("requests", billed.executed, 1_000), ("usd", billed.nusd, 1_000_000_000_000)]
        {
            let expected = Stands { posted, limit, ..Stands::default() };
            assert_eq!(stands(&place.database(), dimension), expected, "after another start: {start}");
        }
        if let Some(again) = again {
            assert_eq!(again.terminate().await, Some(0));
        }
    }
}
