//! `outcrop key row`: a key for the configuration file, made without a gateway.

use std::path::PathBuf;
use std::process::ExitCode;

use outcrop_core::Role;
use outcrop_store::Register;
use outcrop_store::keys::{Administrator, KeyDesk, Pepper, Wanted};
use secrecy::ExposeSecret;

use crate::cli::{EX_USAGE, refuse};
use crate::clock::wall;
use crate::config::pepper;

#[derive(Debug, clap::Args)]
pub(crate) struct Row {
    /// Where the pepper is, as in `[auth] pepper`: a file.
    #[arg(long, value_name = "FILE")]
    pub(super) pepper_file: PathBuf,
    /// Name of the key, shown in records.
    #[arg(long)]
    pub(super) name: String,
}

pub(super) fn run(row: &Row) -> ExitCode {
    match make(row) {
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

fn make(row: &Row) -> Result<(String, String), String> {
    let desk = KeyDesk::new(Register::in_memory(), Pepper::new(pepper(&row.pepper_file)?.as_bytes()));
    let by = Administrator::of_the_machine("row");
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|e| e.to_string())?;
    let wanted = Wanted::named(&row.name, Role::Client);
    let minted = runtime.block_on(desk.mint(&by, &wanted, wall())).map_err(|error| error.to_string())?;
    let (prefix, hash) = (&minted.record.prefix, &minted.record.hash);
    let text = format!("[[key]]\nname = {:?}\nhash = \"{prefix}:{hash}\"", row.name);
    Ok((minted.key.expose_secret().to_owned(), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_accepted_by_the_configuration_that_holds_its_row() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pepper");
        std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
        let (key, row) = make(&Row { pepper_file: file.clone(), name: "ci".into() }).unwrap();
        let text = format!(
            "[auth]\npepper = \"file:{}\"\n[[path]]\nname=\"x\"\nkind=\"openai\"\nurl=\"http://127.0.0.1:1/v1\"\n\
             [[model]]\nname=\"m\"\ntargets=[{{path=\"x\",id=\"m\"}}]\n\
             [[price]]\nmodel=\"m\"\nfree=true\n{row}\n",
            file.display()
        );
        let checked = crate::config::parse("outcrop.toml", &text).unwrap();
        let outcrop_proxy::Auth::Keys(ring) = checked.auth else { panic!("open") };
        let accepts = |key: &str| ring.find(key, std::time::Duration::ZERO).is_some();
        assert!(accepts(&key) && !accepts(&format!("{key}x")));
    }
}
