//! A test that runs a part of itself in a process of its own, so that the process can be ended.

use std::process::Command;

/// Names the part; it is set in the child only.
const PART: &str = "OUTCROP_STORE_TEST_PART";

/// What the child is to know, when this process is one.
#[allow(clippy::disallowed_methods, reason = "a child of a test has no other way to know what it is")]
pub(super) fn part() -> Option<String> {
    std::env::var(PART).ok()
}

/// This very program, to run one test as a child.
pub(super) fn command(test: &str, part: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(PART, part);
    command
}
