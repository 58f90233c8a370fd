//! `outcrop certify report`: page, summary and JUnit file from the record, again.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use outcrop_lab::certify::report::Provenance;
use outcrop_lab::certify::report::signature;

use super::publish::{self, PublishError};
use crate::cli::{EX_USAGE, refuse};

/// Options of `outcrop certify report`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The report's JSON file.
    #[arg(required_unless_present = "schema")]
    report: Option<PathBuf>,
    /// Folder for what is made. Default: beside the JSON file.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the JSON schema of a report instead.
    #[arg(long, conflicts_with = "report")]
    schema: bool,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let Some(report) = &options.report else {
        anstream::println!("{:#}", outcrop_lab::certify::report::document::schema());
        return ExitCode::SUCCESS;
    };
    match render(report, options.out.as_deref()) {
        Ok(page) => {
            anstream::println!("{}", page.display());
            ExitCode::SUCCESS
        }
        Err(error @ PublishError::Changed { .. }) => refuse(&error, 1),
        Err(error) => refuse(&error, EX_USAGE),
    }
}

fn render(report: &Path, out: Option<&Path>) -> Result<PathBuf, PublishError> {
    let (bytes, document) = publish::read(report)?;
    let beside = publish::signature_of(report);
    // A page that names a signer must not be made from a record that this signer did not sign.
    let key_id = if beside.exists() {
        let text = String::from_utf8_lossy(&publish::read_bytes(&beside)?).into_owned();
        let verified = signature::verify(&bytes, &text, None)
            .map_err(|error| PublishError::Changed { path: report.to_owned(), error })?;
        Some(verified.key_id)
    } else {
        None
    };
    let folder = out.or_else(|| report.parent()).unwrap_or(Path::new("."));
    publish::render(&document.outcome, &Provenance { sha256: signature::sha256_hex(&bytes), key_id }, folder)
}
