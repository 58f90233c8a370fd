//! Lists of tools, within bounds.

use tokio::time::Instant;

use super::server::{Desk, Listing, start};
use super::{Fixture, PLENTY};
use crate::mcp::Cut;

async fn listed(list: Listing) -> (usize, Option<Cut>, String) {
    let server = start(Desk { list, ..Desk::default() }).await;
    let fixture = Fixture::new(server.transport(), |_| {});
    let catalogue = fixture.path().list_tools(Instant::now() + PLENTY).await.unwrap();
    fixture.close().await;
    (catalogue.tools.len(), catalogue.cut, catalogue.sha256.clone())
}

#[tokio::test]
async fn a_list_ends_whatever_its_server_says() {
    let (count, cut, hash) = listed(Listing::Plain).await;
    assert_eq!((count, cut, hash.len()), (2, None, 64));
    let (count, cut, same) = listed(Listing::SameCursor).await;
    assert_eq!((count, cut), (2, Some(Cut::Cycle)), "an empty cursor is a cursor");
    assert_eq!(same, hash, "the same definitions have the same hash");
    let (count, cut, other) = listed(Listing::Endless).await;
    assert_eq!((count, cut), (200, Some(Cut::Pages)));
    assert_ne!(other, hash);
    let (count, cut, _) = listed(Listing::Huge).await;
    assert_eq!((count, cut), (26, Some(Cut::Bytes)));
}
