//! Where the store is, as the configuration writes it.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::StoreError;

/// Where the store is.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// In this process: it forgets everything with it.
    Memory,
    /// In a file, used by one process.
    Sqlite(PathBuf),
    /// In a database that several replicas share; the address as it was written.
    Postgres(String),
}

impl Location {
    /// Reads `memory:`, `sqlite:path` (relative to `folder`) or `postgres://…`.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, StoreError> {
        if text == "memory:" {
            return Ok(Self::Memory);
        }
        if let Some(path) = text.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
            return Ok(Self::Sqlite(folder.join(path)));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            // The cause is left out: it may repeat the address, and with it the password (I-9).
            let known = postgres_config(text);
            return known.map(|_| Self::Postgres(text.to_owned())).map_err(|_| {
                StoreError::Refused(
                    "the address of the PostgreSQL store cannot be read; write \
                     `postgres://user:password@host:5432/database?sslmode=require`"
                        .to_owned(),
                )
            });
        }
        Err(StoreError::Refused(format!(
            "`{}` is no kind of store; write `sqlite:path`, `memory:` or `postgres://…`",
            text.split(':').next().unwrap_or_default()
        )))
    }

    /// Where the dispatch log lies unless the configuration says otherwise: beside the SQLite file.
    pub fn dispatch_log(&self) -> Option<PathBuf> {
        match self {
            Self::Sqlite(path) => Some(beside(path, "dispatch")),
            Self::Memory | Self::Postgres(_) => None,
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            // The address may hold a password (I-9).
            Self::Postgres(_) => f.write_str("postgres://…"),
        }
    }
}

/// How a PostgreSQL address is to be reached. Where TLS is wanted its certificate and its name are always
/// checked, so `verify-full`, which the library does not know, is what `require` does here.
pub(crate) fn postgres_config(address: &str) -> Result<tokio_postgres::Config, tokio_postgres::Error> {
    address.replace("sslmode=verify-full", "sslmode=require").parse()
}

/// A file beside another: its name with `.ending` behind it.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused_without_their_password() {
        let folder = Path::new("/etc/outcrop");
        let parse = |text: &str| Location::parse(text, folder);
        assert_eq!(parse("memory:"), Ok(Location::Memory));
        assert_eq!(parse("sqlite:a.db"), Ok(Location::Sqlite("/etc/outcrop/a.db".into())));
        assert_eq!(parse("sqlite:/var/a.db"), Ok(Location::Sqlite("/var/a.db".into())));
        assert!(matches!(parse("postgres://u:secret@h/d?sslmode=require"), Ok(Location::Postgres(_))));
        assert!(matches!(parse("postgres://u@h/d?sslmode=verify-full"), Ok(Location::Postgres(_))));
        for text in ["", "sqlite:", "mysql://u:secret@h/d", "postgres://u:secret@h:port/d?x=y"] {
            let StoreError::Refused(message) = parse(text).unwrap_err() else { panic!("{text}") };
            assert!(message.contains("write `") && !message.contains("secret"), "{message}");
        }
        let shown = format!("{:?}", parse("postgres://u:secret@h/d"));
        assert!(!shown.contains("secret"), "{shown}");
    }
}
