//! A file that stops everything while it is there: the last resort of whoever has a shell.
//!
//! It is looked at, not watched: a watcher can be lost, and a look costs nothing. What is there but
//! cannot be read stops, because somebody put it there.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use outcrop_policy::stops::{Kept, Level};
use outcrop_policy::{Scope, Stop};
use outcrop_proxy::Gateway;
use tokio::time::MissedTickBehavior;

use super::level;
use crate::clock::unix_ms;

/// The id of the stop that follows the file.
pub(super) const ID: &str = "file";
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What is read of it.
const BYTES_MAX: u64 = 64;

/// What the file says; `None` if there is none.
pub(super) fn read(file: &Path) -> Option<Level> {
    match fs::metadata(file) {
        // Nothing else is opened: that could wait for ever.
        Ok(there) if there.is_file() => Some(content(file).as_deref().and_then(level).unwrap_or(Level::Stop)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => None,
        Ok(_) | Err(_) => Some(Level::Stop),
    }
}

fn content(file: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(file).ok()?.take(BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text.trim().to_lowercase())
}

/// Makes the stop in force what the file says.
pub(super) fn apply(gateway: &Gateway, file: &Path, says: Option<Level>) {
    let before = gateway.stops.in_force().get(ID).map(|held| held.stop.level);
    match says {
        now if now == before => {}
        None => {
            gateway.stops.change(|stops| stops.remove(ID));
            tracing::warn!(file = %file.display(), "the file that stopped everything is gone; resumed");
        }
        Some(level) => {
            let stop = Stop {
                id: ID.to_owned(),
                scope: Scope::all(),
                level,
                by: "file".to_owned(),
                reason: "the operator's stop file is there".to_owned(),
                since_ms: unix_ms(),
                staged: None,
            };
            // Everything can always be stopped.
            gateway.stops.change(|stops| {
                let _ = stops.put(stop, Kept::Outside);
            });
            tracing::error!(file = %file.display(), level = level.label(), "emergency stop by file");
        }
    }
}

/// Looks again and again.
pub(super) async fn watch(gateway: &Gateway, file: PathBuf) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let looked = file.clone();
        let Ok(says) = tokio::task::spawn_blocking(move || read(&looked)).await else { continue };
        apply(gateway, &file, says);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_there_stops() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("STOP");
        assert_eq!(read(&file), None);
        for (content, expected) in [
            ("", Level::Stop),
            ("drain\n", Level::Drain),
            (" KILL ", Level::Kill),
            ("nonsense", Level::Stop),
            (&"x".repeat(1000), Level::Stop),
        ] {
            fs::write(&file, content).unwrap();
            assert_eq!(read(&file), Some(expected), "{content}");
        }
        fs::write(&file, [0xff, 0xfe]).unwrap();
        assert_eq!(read(&file), Some(Level::Stop), "not even text");
        assert_eq!(read(folder.path()), Some(Level::Stop), "not even a file");
        assert_eq!(read(&file.join("x")), None, "below a file there is nothing");
    }
}
