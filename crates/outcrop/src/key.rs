//! `outcrop key`: keys are shown once and stored as a hash.

use std::fmt::Write;
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Subcommand;
use outcrop_proxy::Keyring;
use outcrop_proxy::authenticate::public_prefix;

use crate::cli::{EX_USAGE, refuse};
use crate::config::pepper;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a key: prints it once, and the row that goes into the configuration.
    New(New),
}

#[derive(Debug, clap::Args)]
pub(crate) struct New {
    /// Where the pepper is, as in `[auth] pepper`: a file.
    #[arg(long, value_name = "FILE")]
    pepper_file: std::path::PathBuf,
    /// Name of the key, shown in records.
    #[arg(long)]
    name: String,
}

pub(crate) fn run(command: &Command) -> ExitCode {
    let Command::New(new) = command;
    match make(new) {
        Ok((key, row)) => {
            anstream::eprintln!("The key, shown this once:");
            anstream::println!("{key}");
            anstream::eprintln!("\nAdd to the configuration:\n");
            anstream::println!("{row}");
            ExitCode::SUCCESS
        }
        Err(message) => refuse(&message, EX_USAGE),
    }
}

/// 256 random bits behind a public prefix of 48 more.
fn make(new: &New) -> Result<(String, String), String> {
    let pepper = pepper(&new.pepper_file)?;
    let mut random = [0u8; 38];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| "no randomness to be had".to_owned())?;
    let (public, secret) = random.split_at(6);
    let public = hex(public);
    let key = format!("oc_{public}_{}", URL_SAFE_NO_PAD.encode(secret));
    let prefix = public_prefix(&key).ok_or("the key has no public prefix")?;
    let hash = hex(&Keyring::new(pepper.as_bytes()).hash(&key));
    let row = format!("[[key]]\nname = {:?}\nhash = \"{prefix}:{hash}\"", new.name);
    Ok((key, row))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_accepted_by_the_configuration_that_holds_its_row() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pepper");
        std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
        let (key, row) = make(&New { pepper_file: file.clone(), name: "ci".into() }).unwrap();
        let text = format!(
            "[auth]\npepper = \"file:{}\"\n[[path]]\nname=\"x\"\nkind=\"openai\"\nurl=\"http://127.0.0.1:1/v1\"\n\
             [[model]]\nname=\"m\"\ntargets=[{{path=\"x\",id=\"m\"}}]\n\
             [[price]]\nmodel=\"m\"\nfree=true\n{row}\n",
            file.display()
        );
        let checked = crate::config::parse("outcrop.toml", &text).unwrap();
        let outcrop_proxy::Auth::Keys(ring) = checked.auth else { panic!("open") };
        assert!(ring.accepts(&key) && !ring.accepts(&format!("{key}x")));
    }
}
