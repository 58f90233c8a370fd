//! Decision records as JSON lines in a file, for replay and for whoever wants to keep them.
//!
//! The request path hands a finished record over and never waits (I-4): a full queue drops it and counts it.
//! One task writes, a batch at a time. The file is bounded: at its size it becomes `file.1`, the older ones
//! move up, and the oldest goes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use outcrop_core::decision::Decision;
use outcrop_proxy::Gateway;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Records that may wait to be written.
const WAITING_MAX: usize = 4096;
/// Most records in one write.
const BATCH_MAX: usize = 256;

/// Where records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportSpec {
    /// The file; `None` exports nothing.
    pub file: Option<PathBuf>,
    /// Its size in bytes at which it is rotated.
    pub bytes_max: u64,
    /// Rotated files that are kept beside it.
    pub kept: usize,
}

/// Exports what the gateway settles from here on, until `end`; what waits by then is still written.
pub(crate) fn start(spec: &ExportSpec, gateway: &Arc<Gateway>, end: CancellationToken) -> io::Result<()> {
    let Some(file) = &spec.file else { return Ok(()) };
    let writer = Writer::open(file, spec.bytes_max, spec.kept).map_err(|error| {
        io::Error::new(error.kind(), format!("[decisions] export {}: {error}", file.display()))
    })?;
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    gateway.export_to(sender);
    let dropped = gateway.metrics.decisions_dropped.clone();
    gateway.background.spawn(write(writer, receiver, dropped, end));
    Ok(())
}

async fn write(
    mut writer: Writer,
    mut records: mpsc::Receiver<Arc<Decision>>,
    dropped: Counter,
    end: CancellationToken,
) {
    let (mut is_ending, mut is_well) = (false, true);
    loop {
        let mut batch = Vec::new();
        let count = tokio::select! {
            biased;
            () = end.cancelled(), if !is_ending => {
                is_ending = true;
                records.close();
                continue;
            }
            count = records.recv_many(&mut batch, BATCH_MAX) => count,
        };
        if count == 0 {
            return;
        }
        let written = tokio::task::spawn_blocking(move || {
            let written = writer.append(&batch);
            (writer, written)
        });
        let Ok((back, written)) = written.await else { return };
        writer = back;
        if let Err(error) = &written {
            dropped.inc_by(count as u64);
            // Said once, not with every batch.
            if is_well {
                tracing::error!(%error, "decision records are not exported");
            }
        }
        is_well = written.is_ok();
    }
}

/// The file, and when it is full.
struct Writer {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
    kept: usize,
}

impl Writer {
    fn open(path: &Path, bytes_max: u64, kept: usize) -> io::Result<Self> {
        let file = append_to(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, bytes, bytes_max, kept })
    }

    fn append(&mut self, batch: &[Arc<Decision>]) -> io::Result<()> {
        let mut text = Vec::new();
        for decision in batch {
            let start = text.len();
            serde_json::to_writer(&mut text, &**decision)?;
            text.push(b'\n');
            let (line, pending) = ((text.len() - start) as u64, start as u64);
            if self.bytes + pending > 0 && self.bytes + pending + line > self.bytes_max {
                let tail = text.split_off(start);
                self.put(&text)?;
                self.rotate()?;
                text = tail;
            }
        }
        self.put(&text)
    }

    fn put(&mut self, text: &[u8]) -> io::Result<()> {
        self.file.write_all(text)?;
        self.bytes += text.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..self.kept).rev() {
            let from = self.numbered(number);
            if from.exists() {
                std::fs::rename(from, self.numbered(number + 1))?;
            }
        }
        if self.kept == 0 {
            std::fs::remove_file(&self.path)?;
        } else {
            std::fs::rename(&self.path, self.numbered(1))?;
        }
        self.file = append_to(&self.path)?;
        self.bytes = 0;
        Ok(())
    }

    fn numbered(&self, number: usize) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

/// It names callers, so it is the owner's alone.
fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use outcrop_core::{Dialect, RequestId};

    use super::*;

    fn record(number: usize) -> Arc<Decision> {
        Arc::new(Decision::opened(RequestId::new(format!("{number:04}")), 0, Dialect::OpenAi))
    }

    #[tokio::test]
    async fn what_waits_at_the_end_is_still_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("decisions.jsonl");
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        for number in 0..1000 {
            sender.try_send(record(number)).unwrap();
        }
        let (end, dropped) = (CancellationToken::new(), Counter::default());
        end.cancel();
        write(Writer::open(&path, u64::MAX, 1).unwrap(), receiver, dropped.clone(), end).await;
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1000);
        assert!(sender.is_closed() && dropped.get() == 0);
    }

    #[test]
    fn files_are_bounded_and_no_line_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("decisions.jsonl");
        let line = serde_json::to_string(&*record(0)).unwrap().len() as u64 + 1;
        let mut writer = Writer::open(&path, line * 10 + 1, 2).unwrap();
        for batch in 0..7 {
            let records: Vec<_> = (0..7).map(|n| record(batch * 7 + n)).collect();
            writer.append(&records).unwrap();
        }
        let mut names: Vec<_> = folder
            .path()
            .read_dir()
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["decisions.jsonl", "decisions.jsonl.1", "decisions.jsonl.2"]);
        let ids = |name: &str| -> Vec<String> {
            let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
            let ids =
                text.lines().map(|l| serde_json::from_str::<Decision>(l).unwrap().request_id.to_string());
            ids.collect()
        };
        let all: Vec<String> = names.iter().rev().flat_map(|name| ids(name)).collect();
        let expected: Vec<String> = (20..49).map(|n| format!("{n:04}")).collect();
        assert_eq!(all, expected, "what is kept is whole and in order");
        drop(writer);
        let mut again = Writer::open(&path, line * 10 + 1, 2).unwrap();
        assert_eq!(again.bytes, line * 9, "a restart goes on where it was");
        again.append(&[record(49), record(50)]).unwrap();
        assert_eq!(ids("decisions.jsonl"), ["0050"]);
    }
}
