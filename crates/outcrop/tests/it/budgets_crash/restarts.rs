//! What people decided, and what was told, is still so after a kill.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::{
    load::{ask, count, rush},
    place::{Place, SQLITE, hard, paced_lab},
    stands::{crossings, stands},
};
use crate::house::{Setup, eventually};

const SHOWN: &str = "The first admin key, shown this once";

#[tokio::test(flavor = "multi_thread")]
async fn keys_stops_and_the_first_admin_survive_every_kill() {
    let lab = paced_lab().await;
    let auth = "mode = \"keys\"".to_owned();
    let place = Place::new(&lab, Setup { auth, store: SQLITE.to_owned(), ..Setup::default() });
    let gateway = place.start().await;
    let said = gateway.said.join("\n");
    assert!(said.contains(SHOWN), "{said}");
    let admin = gateway.said.last().unwrap().clone();
    gateway.kill().await;
    let pepper = fs::metadata(place.folder.join("outcrop.pepper")).unwrap();
    assert_eq!(pepper.permissions().mode() & 0o777, 0o600);

    let gateway = place.start().await;
    assert!(!gateway.said.join("\n").contains(SHOWN), "{:?}", gateway.said);
    let bearer = format!("Bearer {admin}");
    let headers = [("authorization", bearer.as_str())];
    let keys = crate::client::send(gateway.admin, http::Method::GET, "/admin/v1/keys", &headers, "");
    assert_eq!(keys.await.unwrap().status, 200, "the key that was shown before the kill is good");
    let key = place.run(&["key", "new", "--name", "ci"]).await.trim().to_owned();
    gateway.kill().await;

    let with = [("x-api-key", key.as_str())];
    let gateway = place.start().await;
    assert_eq!(ask(gateway.data, 0, &with).await, "");
    place.run(&["stop", "--scope", "key:ci", "--level", "drain", "--reason", "drill"]).await;
    gateway.kill().await;

    let gateway = place.start().await;
    assert_eq!(ask(gateway.data, 0, &with).await, "stopped");
    place.run(&["resume", "--scope", "key:ci"]).await;
    gateway.kill().await;

    let gateway = place.start().await;
    assert_eq!(ask(gateway.data, 0, &with).await, "");
    place.run(&["key", "revoke", "ci"]).await;
    gateway.kill().await;

    let gateway = place.start().await;
    assert_eq!(ask(gateway.data, 0, &with).await, "unauthenticated");
    assert_eq!(gateway.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn balances_survive_and_thresholds_are_told_once() {
    let lab = paced_lab().await;
    let more = hard("40 requests");
    let place = Place::new(&lab, Setup { store: SQLITE.to_owned(), more, ..Setup::default() });
    let gateway = place.start().await;
    let told = rush(&[gateway.data], 34).await;
    assert_eq!(count(&told, ""), 34, "{told:?}");
    eventually("everything is posted", async || {
        (stands(&place.database(), "requests").posted == 34).then_some(())
    })
    .await;
    let before = crossings(&place.database());
    let levels: Vec<&str> = before.iter().map(|(_, level, _)| level.as_str()).collect();
    assert_eq!(levels.len(), 2, "50 % and 80 %: {before:?}");
    gateway.kill().await;

    let gateway = place.start().await;
    assert_eq!(stands(&place.database(), "requests").committed(), 34);
    let told = rush(&[gateway.data], 12).await;
    assert_eq!((count(&told, ""), count(&told, "budget_exceeded")), (6, 6), "{told:?}");
    assert_eq!(gateway.terminate().await, Some(0));
    let at_last = crossings(&place.database());
    assert_eq!(at_last.len(), 4, "{at_last:?}");
    assert!(before.iter().all(|one| at_last.contains(one)), "not told again: {before:?}, {at_last:?}");
}
