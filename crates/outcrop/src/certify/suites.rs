//! `outcrop certify`, `outcrop certify run`: scenarios, ours or the user's, and what they found.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use outcrop_lab::certify::outcome::Outcome;
use outcrop_lab::certify::play::Subject;
use outcrop_lab::certify::report::Standing;
use outcrop_lab::certify::scenario::{Profile, Scenario, parse};
use outcrop_lab::certify::suite::{self, SUITES};
use outcrop_lab::load::credential::Credential;
use tokio_util::sync::CancellationToken;

use super::publish::{PublishError, Signer, publish};
use super::show::{self, Live};
use super::{EX_INTERRUPTED, raise_descriptors};
use crate::cli::{EX_UNAVAILABLE, EX_USAGE, refuse};

/// Options of `outcrop certify` without a further command.
#[derive(Debug, Args)]
pub(crate) struct Suites {
    /// Only these suites; all if none is named.
    #[arg(value_name = "SUITE", value_parser = clap::builder::PossibleValuesParser::new(SUITES))]
    only: Vec<String>,
    /// A suite as an option: `load` needs it beside `--target`, where the word alone is the generator.
    #[arg(long = "suite", value_name = "SUITE", value_parser = clap::builder::PossibleValuesParser::new(SUITES))]
    more: Vec<String>,
    /// quick takes 3 minutes at most, standard 20, endurance hours at ten times the load.
    #[arg(long, value_enum, default_value = "quick")]
    profile: ProfileName,
    /// Only say what would be played, and for how long.
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    how: How,
}

/// Options of `outcrop certify run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Scenario files (TOML); docs/certification-load.md describes them.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Whose lengths and rates of the files apply.
    #[arg(long, value_enum, default_value = "quick")]
    profile: ProfileName,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
struct How {
    /// Measure a gateway elsewhere, as far as its callers see it, instead of this binary.
    #[arg(long)]
    target: Option<String>,
    /// The model that is asked for at `--target`.
    #[arg(long, requires = "target")]
    model: Option<String>,
    /// Sent to `--target` as `Authorization: Bearer`.
    #[arg(long, requires = "target", env = "OUTCROP_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Folder for the report; it is made if it is missing.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Ed25519 key (PKCS#8, PEM) that signs the report. Default: one that is made once, beside the folder.
    #[arg(long, requires = "out")]
    sign_key: Option<PathBuf>,
    /// Print everything that was found as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ProfileName {
    Quick,
    Standard,
    Endurance,
}

pub(crate) fn certify(options: &Suites) -> ExitCode {
    let profile = options.profile.into();
    let only = [options.only.as_slice(), &options.more].concat();
    match suite::shipped(profile, &only) {
        Ok(scenarios) if options.list => {
            show::plan(&scenarios);
            ExitCode::SUCCESS
        }
        Ok(scenarios) => run(profile.name(), scenarios, &options.how),
        Err(error) => refuse(&error, EX_USAGE),
    }
}

pub(crate) fn play_files(options: &Run) -> ExitCode {
    let read = |file: &PathBuf| {
        let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        parse(&file.display().to_string(), &text, options.profile.into()).map_err(|error| error.to_string())
    };
    match options.files.iter().map(read).collect::<Result<Vec<Scenario>, String>>() {
        Ok(scenarios) => run("custom", scenarios, &options.how),
        Err(message) => refuse(&message, EX_USAGE),
    }
}

fn run(profile: &str, scenarios: Vec<Scenario>, how: &How) -> ExitCode {
    raise_descriptors();
    let subject = match how.subject() {
        Ok(subject) => subject,
        Err(error) => return refuse(&error, EX_UNAVAILABLE),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&error, EX_UNAVAILABLE),
    };
    let outcome = runtime.block_on(async {
        let stop = CancellationToken::new();
        let live = Live::start();
        let interrupted = async {
            if tokio::signal::ctrl_c().await.is_ok() {
                stop.cancel();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            outcome = suite::run(profile, scenarios, &subject, &live, &stop) => outcome,
            () = interrupted => Outcome::default(),
        }
    });
    conclude(&outcome, how)
}

/// Prints and keeps what was found; the exit code says whether all of it is good.
fn conclude(outcome: &Outcome, how: &How) -> ExitCode {
    let json = match serde_json::to_string_pretty(outcome) {
        Ok(json) => json,
        Err(error) => return refuse(&error, EX_UNAVAILABLE),
    };
    if how.json {
        anstream::println!("{json}");
    } else {
        show::summary(outcome);
    }
    let standing = match &how.out {
        None => Standing::of(outcome),
        Some(folder) => match report(outcome, folder, how.sign_key.as_deref()) {
            Ok(standing) => standing,
            Err(error) => return refuse(&error, EX_UNAVAILABLE),
        },
    };
    match standing {
        Standing::Passed => ExitCode::SUCCESS,
        _ if outcome.partial => ExitCode::from(EX_INTERRUPTED),
        _ => ExitCode::FAILURE,
    }
}

/// Writes the signed report and says where it is and what the signature proves.
fn report(outcome: &Outcome, folder: &Path, sign_key: Option<&Path>) -> Result<Standing, PublishError> {
    // Not inside it: a report is handed on, its key is not.
    let beside = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(beside).map_err(|error| PublishError::System { path: beside.to_owned(), error })?;
    let published = publish(outcome.clone(), folder, &Signer::new(sign_key, beside)?)?;
    anstream::eprintln!("{}\n{}", published.html.display(), published.signed);
    Ok(published.standing)
}

impl How {
    fn subject(&self) -> std::io::Result<Subject> {
        let credential = self.key.clone().map_or(Credential::None, Credential::Bearer);
        match &self.target {
            None => std::env::current_exe().map(Subject::Binary),
            Some(url) => Ok(Subject::Address { url: url.clone(), model: self.model.clone(), credential }),
        }
    }
}

impl From<ProfileName> for Profile {
    fn from(name: ProfileName) -> Self {
        match name {
            ProfileName::Quick => Self::Quick,
            ProfileName::Standard => Self::Standard,
            ProfileName::Endurance => Self::Endurance,
        }
    }
}
