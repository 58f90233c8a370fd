//! The target's name: unknown, then known, then unknown again, then somewhere else.
//!
//! The gateway runs with a hosts file of its own, mounted where only it sees it: Linux and root.

use std::time::Duration;

use crate::callers::Callers;
use crate::gateway::Gateway;
use crate::lab::Lab;
use crate::network::is_root;
use crate::scene::{PAUSE, RECOVERY_MAX, path, recovery, requests};

const NOBODY: &str = "127.0.0.1 localhost\n";

fn target_at(lab: &Lab) -> String {
    format!("{NOBODY}{} target.test\n", lab.host)
}

#[tokio::test]
async fn that_come_go_and_move() {
    if !is_root() {
        return;
    }
    let (mut first, second) = (Lab::start().await, Lab::start().await);
    let port = first.address("fra").port();
    let text = format!(
        "{}{}[[model]]\nname = \"m0\"\n\
         targets = [{{ path = \"p0\", id = \"amazon.nova-lite-v1:0\" }}, {{ path = \"other\", id = \"sonnet\" }}]\n",
        path("p0", true, &format!("http://target.test:{port}"), "allow_private = true\n"),
        path("other", false, &format!("http://{}", second.address("desk")), ""),
    );
    let gateway = Gateway::with_names(&text, Some(NOBODY)).await;
    let callers = Callers { gateway: gateway.data, operation: "direct-first" };

    let all = callers.load("m0", requests(), PAUSE).await;
    let wrong = all.iter().find(|told| told.is_error() || told.is_late() || told.path != "other");
    assert!(wrong.is_none(), "its name is unknown: {wrong:?}");

    gateway.rename(&target_at(&first));
    let back = recovery(&callers, "m0", 10).await;
    println!("used after {} ms once its name is known", back.as_millis());
    assert!(back < RECOVERY_MAX, "{back:?}");
    tokio::time::sleep(Duration::from_secs(6)).await;

    // New connections are needed, and the last good address serves them.
    gateway.rename(NOBODY);
    first.kill();
    first.run().await;
    let all = callers.load("m0", requests(), PAUSE).await;
    assert!(all.iter().all(|told| !told.is_error() && !told.is_late()));
    let elsewhere = all.iter().filter(|told| told.path != "p0").count();
    println!("{elsewhere} of {} went elsewhere while its name was unknown again", all.len());
    assert!(elsewhere <= all.len() / 4, "{elsewhere}");

    let moved = Lab::start().await;
    gateway.rename(&target_at(&moved));
    first.kill();
    let back = recovery(&callers, "m0", 10).await;
    println!("used after {} ms once its name leads elsewhere", back.as_millis());
    assert!(back < RECOVERY_MAX && moved.received("fra").await > 0, "{back:?}");
}
