//! The end of a month, a leap day, and a wall clock that is stepped, on a running gateway.
//!
//! `libfaketime` moves the wall clock of the process; its monotonic clocks stay true, as when somebody
//! sets the time of a machine.

use std::{
    fs,
    path::{Path, PathBuf},
};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use outcrop_lab::Lab;
use tokio::task::JoinSet;

use super::{
    load::{ask, count},
    place::{Place, SQLITE, paced_lab},
    process::Process,
    stands::accounts,
};
use crate::house::{Setup, eventually};

/// Where Debian puts it.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
const LIBRARY_ARM: &str = "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1";
/// What a month has.
const LIMIT: i64 = 10;
/// The first of the requests that go to other paths than Bedrock's, and how many there are: a signature by
/// a clock that was stepped is refused once, and what that costs is another test's.
const UNSIGNED: (u64, u64) = (10, 15);

/// A gateway whose wall clock is ours.
struct Watch {
    lab: Lab,
    place: Place,
    gateway: Process,
}

impl Watch {
    /// Begins at a time of day in Berlin, with a budget for the month there.
    async fn start(at: &str) -> Self {
        let lab = paced_lab().await;
        let more = format!(
            "[[budget]]\nscope = \"all\"\nwindow = \"month\"\nzone = \"Europe/Berlin\"\nlimit = \"{LIMIT} requests\"\n\
             hard = true\ncarve_out = \"0%\"\n"
        );
        let place = Place::new(&lab, Setup { store: SQLITE.to_owned(), more, ..Setup::default() });
        set(&place, at);
        let gateway = serve(&place).await;
        Self { lab, place, gateway }
    }

    fn set(&self, at: &str) {
        set(&self.place, at);
    }

    /// Asks so many times; how many passed, the rest being refused over the budget.
    async fn passed(&self, asked: u64) -> i64 {
        let (data, mut asking) = (self.gateway.data, JoinSet::new());
        for n in 0..asked {
            asking.spawn(async move { ask(data, UNSIGNED.0 + n % UNSIGNED.1, &[]).await });
        }
        let told = asking.join_all().await;
        let (passed, refused) = (count(&told, ""), count(&told, "budget_exceeded"));
        assert_eq!(passed + refused, i64::try_from(asked).unwrap(), "{told:?}");
        passed
    }

    /// What each month has posted, once all of it is, by its first day in Berlin.
    async fn months(&self, expected: &[(&str, i64)]) {
        let expected: Vec<(i64, i64)> =
            expected.iter().map(|(day, posted)| (berlin(&format!("{day}T00:00")), *posted)).collect();
        let mut last = Vec::new();
        let found = eventually("the months stand as they should", async || {
            last = accounts(&self.place.database(), "requests");
            (last == expected).then_some(())
        });
        found.await;
    }
}

async fn serve(place: &Place) -> Process {
    let library = [LIBRARY, LIBRARY_ARM].into_iter().map(Path::new).find(|path| path.exists());
    let library = library.expect("libfaketime is missing: install the Debian package `faketime`");
    let (yes, clock) = (Path::new("1"), clock(place));
    let variables = [
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", &*clock),
        ("FAKETIME_NO_CACHE", yes),
        ("FAKETIME_DONT_FAKE_MONOTONIC", yes),
    ];
    place.start_with(&variables).await
}

fn clock(place: &Place) -> PathBuf {
    place.folder.join("clock")
}

/// Sets the wall clock of the gateway; from there it goes on.
fn set(place: &Place, at: &str) {
    let offset = berlin(at) - Timestamp::now().as_millisecond();
    let sign = if offset < 0 { '-' } else { '+' };
    let (seconds, millis) = (offset.abs() / 1000, offset.abs() % 1000);
    // In one step: it is read whenever the time is asked for.
    let next = place.folder.join("clock.next");
    fs::write(&next, format!("{sign}{seconds}.{millis:03}\n")).unwrap();
    fs::rename(next, clock(place)).unwrap();
}

/// A time of day in Berlin, in milliseconds since the epoch.
fn berlin(at: &str) -> i64 {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let at: DateTime = at.parse().unwrap();
    at.to_zoned(zone).unwrap().timestamp().as_millisecond()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_in_berlin_ends_after_its_leap_day() {
    let watch = Watch::start("2028-02-28T23:20").await;
    assert_eq!(watch.passed(4).await, 4);
    // Into the leap day: the same month, although it is the 1st of March in other years.
    watch.set("2028-02-29T00:10");
    assert_eq!(watch.passed(8).await, 6);
    watch.months(&[("2028-02-01", 10)]).await;
    // Nearly a day at once is not believed before somebody says so; then the month is still not over.
    watch.set("2028-02-29T23:50");
    assert_eq!(watch.passed(2).await, 0);
    watch.place.run(&["budget", "confirm-clock"]).await;
    assert_eq!(watch.passed(2).await, 0);
    // Midnight in Berlin is 23:00 in UTC: the month begins there and is fresh.
    watch.set("2028-03-01T00:00:01");
    assert_eq!(watch.passed(14).await, LIMIT);
    watch.months(&[("2028-02-01", 10), ("2028-03-01", 10)]).await;
    let billed = super::place::bill(&watch.lab).await.executed;
    assert_eq!(billed, 2 * LIMIT, "the upstreams agree");
    assert_eq!(watch.gateway.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stepped_clock_reopens_no_month_and_skips_none_unasked() {
    let watch = Watch::start("2027-10-31T23:55").await;
    assert_eq!(watch.passed(7).await, 7);
    watch.set("2027-11-01T00:01");
    assert_eq!(watch.passed(12).await, LIMIT);
    // Back over the end of the month: October had 3 left, and it stays closed.
    watch.set("2027-10-31T23:00");
    assert_eq!(watch.passed(3).await, 0);
    watch.set("2027-09-15T12:00");
    assert_eq!(watch.passed(3).await, 0);
    // Killed and started with the wrong clock, it is not fooled either.
    let Watch { lab, place, gateway } = watch;
    gateway.kill().await;
    let watch = Watch { gateway: serve(&place).await, lab, place };
    assert_eq!(watch.passed(3).await, 0);
    // Forward over the end of a month by more than an hour: not believed, so nothing is fresh.
    watch.set("2027-12-01T09:00");
    assert_eq!(watch.passed(3).await, 0);
    watch.months(&[("2027-10-01", 7), ("2027-11-01", 10)]).await;
    watch.place.run(&["budget", "confirm-clock"]).await;
    assert_eq!(watch.passed(12).await, LIMIT);
    // It was a mistake; the month that has begun goes on.
    watch.set("2027-11-01T00:05");
    assert_eq!(watch.passed(3).await, 0);
    watch.months(&[("2027-10-01", 7), ("2027-11-01", 10), ("2027-12-01", 10)]).await;
    assert_eq!(super::place::bill(&watch.lab).await.executed, 27, "the upstreams agree");
    assert_eq!(watch.gateway.terminate().await, Some(0));
}
