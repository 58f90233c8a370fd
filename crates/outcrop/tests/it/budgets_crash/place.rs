//! A lab, and a folder with the file and the store of a gateway in front of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use assert_cmd::Command;
use outcrop_lab::{
    Lab, LabConfig,
    script::{Script, Spread},
};
use tempfile::TempDir;

use super::{process::Process, stands::Billed};
use crate::house::{PATHS, Setup, eventually, target, text};

/// Keeps its store beside its file.
pub(super) const SQLITE: &str = "url = \"sqlite:ledger.db\"\ngrant_wait_max = \"10s\"";

/// An operation whose requests no threshold holds back.
const CRITICAL: &str =
    "[[operation]]\nname = \"crash\"\npriority = \"critical\"\norder = [\"direct\", \"mcp\"]\n";

/// The folder of one gateway.
pub(super) struct Place {
    pub(super) folder: PathBuf,
    // Removes it at the end.
    _own: TempDir,
}

impl Place {
    /// The usual file with other contents of `[store]`, and further tables.
    pub(super) fn new(lab: &Lab, setup: Setup) -> Self {
        let own = tempfile::tempdir().unwrap();
        let place = Self { folder: own.path().to_owned(), _own: own };
        place.configure(lab, setup);
        place
    }

    /// Writes the file anew.
    pub(super) fn configure(&self, lab: &Lab, mut setup: Setup) {
        setup.more.insert_str(0, CRITICAL);
        let keys = "credentials = { keys_env = [\"LAB_AWS_ID\", \"LAB_AWS_SECRET\"] }\ndestinations = [";
        let text = text(lab, &setup).replace("destinations = [", keys);
        fs::write(self.file(), text).unwrap();
    }

    pub(super) fn file(&self) -> PathBuf {
        self.folder.join("outcrop.toml")
    }

    pub(super) fn database(&self) -> PathBuf {
        self.folder.join("ledger.db")
    }

    pub(super) async fn start(&self) -> Process {
        self.start_with(&[]).await
    }

    pub(super) async fn start_with(&self, variables: &[(&str, &Path)]) -> Process {
        Process::start(&self.file(), variables).await
    }

    /// Runs a command at the operator's socket; what it printed.
    pub(super) async fn run(&self, words: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outcrop"));
        command.env_clear().env("NO_COLOR", "1").args(words);
        command.arg("--socket").arg(self.folder.join("outcrop.sock"));
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// `[[budget]]`: a hard limit for everybody, for ever, all of which may be used.
pub(super) fn hard(limit: &str) -> String {
    format!(
        "[[budget]]\nscope = \"all\"\nwindow = \"lifetime\"\nlimit = \"{limit}\"\nhard = true\ncarve_out = \"0%\"\n"
    )
}

/// A lab whose streams take a while.
pub(super) async fn paced_lab() -> Lab {
    let lab = Lab::start(LabConfig::ephemeral()).await.unwrap();
    for (path, _) in PATHS {
        let pace = Script {
            pace_ms: Some(Spread::Uniform(1.0, 5.0)),
            latency_ms: Some(Spread::Uniform(1.0, 30.0)),
            ..Script::default()
        };
        lab.script(target(path), pace).await.unwrap();
    }
    lab
}

/// The lab's bill, once everything that arrived has come to its end.
pub(super) async fn bill(lab: &Lab) -> Billed {
    eventually("the lab is quiet", async || {
        let all = PATHS.map(|(path, _)| lab.requests(target(path)).unwrap());
        all.iter().flatten().all(|seen| seen.ended).then_some(())
    })
    .await;
    Billed::of(lab)
}
