//! How much memory the process uses and may use, told to the slots.
//!
//! It reads the kernel's files and decides nothing: what is given up as memory runs out is the policy's
//! (`outcrop_policy::admission`). It measures the process, not the machine: what other processes take is
//! not this gateway's to shed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use outcrop_proxy::{MemoryReading, Slots};
use tokio_util::sync::CancellationToken;

/// Between two readings.
const EVERY: Duration = Duration::from_millis(250);

/// Where readings come from.
#[derive(Debug, Clone)]
pub struct Source {
    /// Folder that stands for `/`.
    pub root: PathBuf,
    /// The most that the file allows, in bytes; a smaller limit of the control group wins.
    pub max: Option<u64>,
}

impl Source {
    /// The kernel's own.
    pub fn system(max: Option<u64>) -> Self {
        Self { root: PathBuf::from("/"), max }
    }

    /// The present reading; `None` where the kernel does not tell.
    fn read(&self) -> Option<MemoryReading> {
        let used = kib(&self.text("proc/self/status")?, "VmRSS:")?;
        let max = match [self.max, self.control_group()].into_iter().flatten().min() {
            Some(max) => max,
            None => kib(&self.text("proc/meminfo")?, "MemTotal:")?,
        };
        Some(MemoryReading { used, max })
    }

    /// The smallest limit among the control group of the process and those around it (cgroup v2).
    fn control_group(&self) -> Option<u64> {
        // `max` is no limit.
        self.of_groups("memory.max").iter().filter_map(|text| text.trim().parse().ok()).min()
    }

    /// A file of the control group of the process, and of each around it (cgroup v2).
    pub(crate) fn of_groups(&self, file: &str) -> Vec<String> {
        let groups = self.text("proc/self/cgroup").unwrap_or_default();
        let own = groups.lines().find_map(|line| line.strip_prefix("0::"));
        let around = own.map(|own| Path::new(own.trim_start_matches('/')).ancestors());
        let read = |group: &Path| self.text(Path::new("sys/fs/cgroup").join(group).join(file));
        around.into_iter().flatten().filter_map(read).collect()
    }

    fn text(&self, file: impl AsRef<Path>) -> Option<String> {
        std::fs::read_to_string(self.root.join(file)).ok()
    }
}

/// Tells the slots what the process uses, until it is told to end.
pub(crate) async fn watch(slots: Arc<Slots>, source: Source, end: CancellationToken) {
    let watching = async {
        let source = Arc::new(source);
        loop {
            let reader = Arc::clone(&source);
            let Ok(Some(reading)) = tokio::task::spawn_blocking(move || reader.read()).await else {
                return tracing::warn!("the memory of the process cannot be read; nothing is shed for it");
            };
            let (rung, before) = slots.hear_memory(reading);
            if rung > before {
                tracing::warn!(
                    rung = rung.label(),
                    used = reading.used,
                    max = reading.max,
                    "short of memory"
                );
            } else if rung < before {
                tracing::info!(rung = rung.label(), used = reading.used, max = reading.max, "memory again");
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    tokio::select! {
        () = end.cancelled() => {}
        () = watching => {}
    }
}

/// The value of a field that the kernel gives in KiB, in bytes.
fn kib(text: &str, field: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// A root with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let file = root.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        root
    }

    #[test]
    fn the_smallest_limit_counts_and_without_one_the_machine() {
        let usual = [
            ("proc/self/status", "Name:\tx\nVmRSS:\t    2048 kB\n"),
            ("proc/meminfo", "MemTotal:       8192 kB\nMemFree: 1 kB\n"),
            ("proc/self/cgroup", "1:name=x:/\n0::/system.slice/outcrop.service\n"),
            ("sys/fs/cgroup/system.slice/outcrop.service/memory.max", "max\n"),
        ];
        let bounded = ("sys/fs/cgroup/system.slice/memory.max", "4194304\n");
        for (group, configured, expected) in [
            (None, None, 8 * MIB),
            (None, Some(3 * MIB), 3 * MIB),
            (Some(bounded), None, 4 * MIB),
            (Some(bounded), Some(3 * MIB), 3 * MIB),
            (Some(bounded), Some(5 * MIB), 4 * MIB),
        ] {
            let files: Vec<_> = usual.into_iter().chain(group).collect();
            let root = root(&files);
            let source = Source { root: root.path().to_owned(), max: configured };
            assert_eq!(source.read(), Some(MemoryReading { used: 2 * MIB, max: expected }), "{configured:?}");
        }
    }

    #[test]
    fn what_the_kernel_does_not_tell_is_not_guessed() {
        let status = ("proc/self/status", "VmRSS:\t 2048 kB\n");
        for files in [&[][..], &[status][..], &[("proc/meminfo", "MemTotal: 8192 kB\n")][..]] {
            let root = root(files);
            assert_eq!(Source { root: root.path().to_owned(), max: None }.read(), None);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_some_of_what_it_may() {
        let reading = Source::system(None).read().unwrap();
        assert!(reading.used > MIB && reading.used < reading.max, "{reading:?}");
    }
}
