//! The configuration file: a raw shape as people write it, a checked shape as the gateway uses it, and
//! one conversion between them.
//!
//! A file is taken whole or not at all. Every problem names its line, its column and the way out.

pub mod check;
mod impact;
mod keys;
mod budgets;
mod models;
mod paths;
pub(crate) mod prices;
pub mod problem;
mod rates;
pub mod raw;
mod scopes;
mod slots;
mod stops;
mod store;
mod text;
mod units;

pub(crate) use budgets::limit as budget_limit;
pub use check::{Checked, Listen, TlsFiles, check};
pub use keys::Keeping;
pub use problem::{Problem, Problems};
pub use stops::StopRules;
pub use store::StoreSpec;
pub(crate) use units::amount as cost;

use std::path::{Path, PathBuf};

/// Reads and checks a file.
pub fn load(path: &Path) -> Result<Checked, Problems> {
    let name = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|error| Problems::unreadable(&name, &error.to_string()))?;
    parse(&name, &text)
}

/// Checks the text of a file called `name`.
pub fn parse(name: &str, text: &str) -> Result<Checked, Problems> {
    let raw: raw::Config = toml::from_str(text).map_err(|error| Problems::from_toml(name, text, &error))?;
    let folder = Path::new(name).parent().unwrap_or(Path::new(""));
    check(&raw, folder).map_err(|found| Problems::located(name, text, found))
}

/// Name of the operator's socket where the file names none.
const OPERATOR_SOCKET: &str = "outcrop.sock";

/// A file as the configuration `file` names it: relative to the folder of that.
pub(crate) fn beside(file: &Path, named: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(named)
}

/// The operator's socket of the gateway whose configuration is `file` and names it `named`.
pub(crate) fn operator_socket(file: &Path, named: Option<&Path>) -> PathBuf {
    beside(file, named.unwrap_or(Path::new(OPERATOR_SOCKET)))
}

/// The same, from the file itself; one that cannot be read names none.
pub(crate) fn operator_socket_of(file: &Path) -> PathBuf {
    let table = std::fs::read_to_string(file).ok().and_then(|text| text.parse::<toml::Table>().ok());
    let named = table.as_ref().and_then(|table| table.get("listen")?.get("operator")?.as_str());
    let named = named.and_then(|text| text::resolve(text.to_owned()).ok());
    operator_socket(file, named.as_deref().map(Path::new))
}

/// The JSON schema of the file.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(raw::Config).to_value()
}

/// Reads a pepper from its file, as `[auth] pepper = "file:…"` does.
pub(crate) fn pepper(file: &Path) -> Result<String, String> {
    let text = text::resolve(format!("file:{}", file.display()))?;
    if text.len() < outcrop_store::keys::PEPPER_BYTES_MIN {
        return Err(format!("{}: the pepper must have at least 32 characters", file.display()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_socket_is_found_even_when_the_file_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("outcrop.toml");
        for (text, expected) in [
            ("[listen]\noperator = \"/run/o.sock\"\nno_such_key = 1\n", PathBuf::from("/run/o.sock")),
            ("[listen]\noperator = \"run/o.sock\"\n", folder.path().join("run/o.sock")),
            ("[listen]\ndata = \"127.0.0.1:1\"\n", folder.path().join("outcrop.sock")),
            ("][", folder.path().join("outcrop.sock")),
        ] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(operator_socket_of(&file), expected, "{text}");
        }
    }
}
