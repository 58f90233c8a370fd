//! How late the gateway's own tasks run: the sign by which the process knows that it is saturated.
//!
//! A task sleeps for a fixed time on the runtime that serves requests; what it oversleeps is the time that
//! anything ready to run waits for a turn. It grows when the process has more to do than its cores can,
//! whatever the reason (many small requests, many streams, another process on the machine), and stays flat
//! when models are slow.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Slots;

/// Between two looks: ten of them make a window of the limit.
const EVERY: Duration = Duration::from_millis(20);

/// Tells the slots how late it wakes, until it is told to end.
pub async fn watch(slots: Arc<Slots>, end: CancellationToken) {
    let watching = async {
        loop {
            let due = Instant::now() + EVERY;
            sleep(EVERY).await;
            slots.hear_delay(due.elapsed());
        }
    };
    tokio::select! {
        () = end.cancelled() => {}
        () = watching => {}
    }
}
