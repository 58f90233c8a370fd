//! A disk without room, and one that does not keep what it was given.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use http::Method;

use super::{
    load::{ask, count, rush},
    place::{Place, SQLITE, bill, hard, paced_lab},
    stands::{attempts, stands},
};
use crate::{
    api::Api,
    client,
    house::{Setup, eventually, within},
};

/// A small file system of its own.
struct Small(PathBuf);

impl Small {
    fn mount(at: PathBuf) -> Self {
        fs::create_dir(&at).unwrap();
        let options = ["-t", "tmpfs", "-o", "size=2m", "tmpfs"];
        let mounted = Command::new("mount").args(options).arg(&at).output().unwrap();
        let why = String::from_utf8_lossy(&mounted.stderr);
        assert!(mounted.status.success(), "this test mounts a small tmpfs and needs root for it: {why}");
        Self(at)
    }

    /// Takes all the room there is.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = fs::File::create(&path).unwrap();
        while file.write_all(&[1; 512]).is_ok() {}
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_room_is_enough_to_go_on() {
    let lab = paced_lab().await;
    let store = "url = \"sqlite:small/ledger.db\"".to_owned();
    let more = hard("1000 requests");
    let place = Place::new(&lab, Setup { store, more, ..Setup::default() });
    let small = Small::mount(place.folder.join("small"));
    let gateway = place.start().await;
    eventually("a first answer", async || ask(gateway.data, 0, &[]).await.is_empty().then_some(())).await;
    // One that is under way when the disk fills up.
    let body = Api::OpenAi.body("on-fra", "[[tokens=300]]", true).to_string();
    let headers = [("content-type", "application/json")];
    let opening = client::open(gateway.data, Method::POST, "/v1/chat/completions", &headers, body);
    let stream = within("the head", opening).await.unwrap();
    let filler = small.fill();
    eventually("readiness turns", async || (gateway.admin("/readyz").await.status == 503).then_some(()))
        .await;
    let why = gateway.admin("/readyz").await.text();
    assert!(why.contains("the ledger's store is not available"), "{why}");
    // What the leases still hold may be spent, if the dispatch log has room for it.
    let mut asked = 0;
    eventually("the leases run out", async || {
        asked += 1;
        (ask(gateway.data, asked, &[]).await == "ledger_unavailable").then_some(())
    })
    .await;
    let (told, before) = (rush(&[gateway.data], 100).await, bill(&lab).await);
    let (passed, refused) = (count(&told, ""), count(&told, "ledger_unavailable"));
    assert_eq!(passed + refused, 100, "{told:?}");
    assert!(refused > 0);
    let told = Api::OpenAi.hear(&within("the stream", client::read(stream)).await);
    assert!(told.is_complete(Api::OpenAi), "{told:?}");

    fs::remove_file(filler).unwrap();
    eventually("it serves again", async || ask(gateway.data, 0, &[]).await.is_empty().then_some(())).await;
    eventually("readiness returns", async || (gateway.admin("/readyz").await.status == 200).then_some(()))
        .await;
    let billed = bill(&lab).await;
    assert!(billed.executed > before.executed);
    assert_eq!(gateway.terminate().await, Some(0));
    let at_last = stands(&small.0.join("ledger.db"), "requests");
    let stood = (at_last.posted, at_last.suspense, at_last.leased, at_last.pending);
    assert_eq!(stood, (billed.executed, 0, 0, 0), "everything that ran is recorded, once");
    eprintln!("full disk: {asked} until refused, then {passed} of 100 passed; {billed:?}");
}

/// Lets `fsync` and `fdatasync` fail while a file is there. Whoever tries a second time with a
/// descriptor that has failed once is ended.
const SHIM: &str = r#"
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
static int failed[4096];
static int sync_with(const char *name, int fd) {
    if (fd >= 0 && fd < 4096 && failed[fd]) _exit(99);
    const char *when = getenv("FAIL_WHILE");
    if (when && access(when, F_OK) == 0) {
        if (fd >= 0 && fd < 4096) failed[fd] = 1;
        errno = EIO;
        return -1;
    }
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    return real(fd);
}
int fsync(int fd) { return sync_with("fsync", fd); }
int fdatasync(int fd) { return sync_with("fdatasync", fd); }
int close(int fd) {
    if (fd >= 0 && fd < 4096) failed[fd] = 0;
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "close");
    return real(fd);
}
"#;

fn shim(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("shim.c"), folder.join("shim.so"));
    fs::write(&source, SHIM).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-D_GNU_SOURCE", "-shared", "-fPIC", "-w", "-o"]).arg(&library).arg(&source).arg("-ldl");
    let built = cc.output().expect("a C compiler, as for the build");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    library
}

#[tokio::test(flavor = "multi_thread")]
async fn an_fsync_that_fails_neither_counts_twice_nor_loses() {
    const LIMIT: i64 = 300;
    let lab = paced_lab().await;
    let more = hard(&format!("{LIMIT} requests"));
    let place = Place::new(&lab, Setup { store: SQLITE.to_owned(), more, ..Setup::default() });
    let (shim, fail) = (shim(&place.folder), place.folder.join("fail"));
    let variables = [("LD_PRELOAD", shim.as_path()), ("FAIL_WHILE", fail.as_path())];
    let mut gateway = place.start_with(&variables).await;
    for round in 0..4 {
        let address = gateway.data;
        let running = tokio::spawn(async move { rush(&[address], 40).await });
        fs::write(&fail, "").unwrap();
        eventually("readiness turns", async || (gateway.admin("/readyz").await.status == 503).then_some(()))
            .await;
        if round % 2 == 1 {
            gateway.kill().await;
            fs::remove_file(&fail).unwrap();
            gateway = place.start_with(&variables).await;
        } else {
            fs::remove_file(&fail).unwrap();
        }
        let told = running.await.unwrap();
        let known = ["", "ledger_unavailable", "broken"];
        assert!(told.iter().all(|told| known.contains(&told.as_str())), "{told:?}");
        eventually("it serves again", async || ask(gateway.data, 0, &[]).await.is_empty().then_some(()))
            .await;
    }
    let told = rush(&[gateway.data], 400).await;
    assert!(count(&told, "budget_exceeded") > 0, "{told:?}");
    let billed = bill(&lab).await;
    assert_eq!(gateway.terminate().await, Some(0));
    let at_last = stands(&place.database(), "requests");
    assert!(at_last.posted <= billed.executed && billed.executed <= at_last.committed(), "{at_last:?}");
    assert_eq!((at_last.committed(), at_last.leased, at_last.pending), (LIMIT, 0, 0), "{billed:?}");
    assert_eq!(attempts(&place.database()), (LIMIT, LIMIT));
    eprintln!("failing fsync: {at_last:?}; {billed:?}");
}
