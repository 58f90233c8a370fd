//! `outcrop certify verify`: says what holds of a report, and what that proves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use outcrop_lab::certify::report::signature::{self, Pin};
use outcrop_lab::certify::report::{Document, figures, standing};
use serde_json::json;

use super::publish;
use crate::cli::{EX_USAGE, refuse};

/// Options of `outcrop certify verify`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The report's JSON file; its signature is beside it as FILE.sig.
    report: PathBuf,
    /// The signer's public key, as a PEM file or as its id (`sha256:…`), from somebody you trust. Without it only
    /// integrity is checked.
    #[arg(long, value_name = "PUB")]
    key: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let pin = match options.key.as_deref().map(pin).transpose() {
        Ok(pin) => pin,
        Err(message) => return refuse(&message, EX_USAGE),
    };
    let signature_path = publish::signature_of(&options.report);
    let files = publish::read_bytes(&options.report).and_then(|report| {
        let signature = publish::read_bytes(&signature_path)?;
        Ok((report, signature))
    });
    let (report, text) = match files {
        Ok(files) => files,
        Err(error) => return refuse(&error, EX_USAGE),
    };
    let verified = match signature::verify(&report, &String::from_utf8_lossy(&text), pin.as_ref()) {
        Ok(verified) => verified,
        Err(error) => return failed(options, &error.to_string()),
    };
    match Document::from_json(&report) {
        Ok(document) => held(options, &verified, &document),
        Err(error) => failed(options, &format!("the signature holds, but {error}")),
    }
}

/// A key from a file, or an id.
fn pin(text: &str) -> Result<Pin, String> {
    let said = if text.starts_with("sha256:") {
        text.to_owned()
    } else {
        fs::read_to_string(Path::new(text)).map_err(|error| format!("{text}: {error}"))?
    };
    Pin::parse(&said).map_err(|error| format!("{text}: {error}"))
}

fn held(options: &Options, verified: &signature::Verified, document: &Document) -> ExitCode {
    let outcome = &document.outcome;
    if options.json {
        anstream::println!(
            "{:#}",
            json!({
                "holds": true,
                "sha256": verified.sha256,
                "key_id": verified.key_id,
                "origin_proved": verified.pinned,
                "standing": document.standing,
            })
        );
        return ExitCode::SUCCESS;
    }
    anstream::println!("unchanged   SHA-256 {}", verified.sha256);
    anstream::println!("signed by   {}", verified.key_id);
    anstream::println!("consistent  every verdict follows from its figure and its bar");
    anstream::println!(
        "says        {}: {} (profile {}, {})",
        document.standing,
        standing::headline(outcome),
        outcome.profile,
        figures::moment(outcome.started_unix)
    );
    if verified.pinned {
        anstream::println!("\nIt is unchanged, and it was signed with the key that you named.");
    } else {
        anstream::println!(
            "\nIt is unchanged since it was signed. Nothing is proved about who signed it: the key came with the report, and \
             anybody can make one. Give the signer's key, from somebody you trust, with --key."
        );
    }
    ExitCode::SUCCESS
}

fn failed(options: &Options, why: &str) -> ExitCode {
    if options.json {
        anstream::println!("{:#}", json!({ "holds": false, "why": why }));
        return ExitCode::FAILURE;
    }
    refuse(&format!("{}: {why}", options.report.display()), 1)
}
