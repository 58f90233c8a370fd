//! Where and from what the figures come: machine, kernel, commit, library versions, command.
//!
//! Everything unknown is an empty string rather than a failure; figures without it are still figures.

use std::fs::read_to_string;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

/// The surroundings of a measurement.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    /// With `-dirty` if the tree differs from it.
    pub(crate) commit: String,
    /// `hyper`, `hyper-util` and `tokio` of the lock file, which both proxies share.
    pub(crate) libraries: Vec<String>,
    pub(crate) profile: &'static str,
    pub(crate) command: String,
    /// When the measurement began.
    pub(crate) started_at: String,
    /// One, five and fifteen minutes, before the measurement.
    pub(crate) load_average: String,
}

impl Machine {
    /// Looks around.
    pub(crate) fn here() -> Self {
        let repository =
            Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or_else(|| Path::new("."));
        let first_line = |path: &str| read_to_string(path).unwrap_or_default().trim().to_owned();
        let lock = read_to_string(repository.join("Cargo.lock")).unwrap_or_default();
        Self {
            cpu: labelled("/proc/cpuinfo", "model name").unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            memory_mib: labelled("/proc/meminfo", "MemTotal")
                .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
                .map_or(0, |kib| kib / 1024),
            kernel: first_line("/proc/sys/kernel/osrelease"),
            commit: commit(repository),
            libraries: ["hyper", "hyper-util", "tokio"]
                .iter()
                .filter_map(|name| locked(&lock, name))
                .collect(),
            profile: if cfg!(debug_assertions) { "debug: figures mean nothing" } else { "release" },
            command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
            started_at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            load_average: first_line("/proc/loadavg"),
        }
    }
}

fn labelled(path: &str, label: &str) -> Option<String> {
    let text = read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(label))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn commit(repository: &Path) -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").arg("-C").arg(repository).args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(head) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "no commit".to_owned();
    };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => head,
        _ => head + "-dirty",
    }
}

/// The version of `name` in the lock file, as `name version`.
fn locked(lock: &str, name: &str) -> Option<String> {
    let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{name}\"\n")))?;
    let version = entry.lines().find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))?;
    Some(format!("{name} {version}"))
}
