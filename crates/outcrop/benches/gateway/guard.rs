//! Runs a program that knows nothing of this benchmark and ends it when this process' standard input ends.
//!
//! It exists because a gateway whose parent is killed would live on; it does nothing between start and end.

use std::fs::File;
use std::io::Error;
use std::process::Stdio;

use tokio::process::Command;
use tokio::sync::oneshot;

use crate::args::GuardArgs;
use crate::role;

/// Runs the program and gives its exit code, or 0 if the guard ended it.
pub(crate) async fn watch(args: &GuardArgs) -> std::io::Result<i32> {
    let (program, rest) = args.command.split_first().ok_or_else(|| Error::other("no program given"))?;
    let log = File::create(&args.log)?;
    let mut child = Command::new(program)
        .args(rest)
        .current_dir(&args.directory)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()?;
    role::announce(child.id().unwrap_or_default());
    let (parent_gone, parent_end) = oneshot::channel();
    std::thread::spawn(move || {
        role::wait_for_stdin_end();
        // The receiver is gone only when the program has ended by itself.
        let _sent = parent_gone.send(());
    });
    tokio::select! {
        status = child.wait() => Ok(status?.code().unwrap_or(1)),
        _ = parent_end => child.kill().await.map(|()| 0),
        () = role::interrupted() => child.kill().await.map(|()| 0),
    }
}
