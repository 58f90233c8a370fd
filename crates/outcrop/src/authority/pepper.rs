//! The pepper beside the store: made once, never overwritten, readable by its owner only.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use outcrop_store::keys::{PEPPER_BYTES_MIN, Pepper};

use crate::secret_file;

/// Name of the file.
const NAME: &str = "outcrop.pepper";

/// Why there is no pepper.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PepperError {
    /// The system refuses.
    #[error("the pepper {}: {error}; without it no key can be checked", .path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Others may read it.
    #[error("the pepper {} can be read by others (mode {mode:o}); `chmod 600` it, or take a new one", .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is no pepper.
    #[error("the pepper {} has fewer than {PEPPER_BYTES_MIN} characters; restore it from your backup", .path.display())]
    Short {
        /// The file.
        path: PathBuf,
    },
}

/// The pepper in a folder; one is made where there is none.
pub(super) fn beside_store(folder: &Path) -> Result<Pepper, PepperError> {
    let path = folder.join(NAME);
    let failed = |error| PepperError::System { path: path.clone(), error };
    if matches!(fs::symlink_metadata(&path), Err(error) if error.kind() == io::ErrorKind::NotFound) {
        make(&path).map_err(failed)?;
    }
    if let Some(mode) = secret_file::exposed(&path).map_err(failed)? {
        return Err(PepperError::Exposed { path, mode });
    }
    let text = fs::read_to_string(&path).map_err(failed)?;
    let secret = text.trim_end_matches(['\n', '\r']);
    if secret.len() < PEPPER_BYTES_MIN {
        return Err(PepperError::Short { path });
    }
    Ok(Pepper::new(secret.as_bytes()))
}

/// Makes a pepper, unless another process made one meanwhile.
fn make(path: &Path) -> io::Result<()> {
    let mut random = [0u8; 32];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("no randomness to be had"))?;
    secret_file::create(path, &STANDARD.encode(random))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_pepper_is_made_once_and_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let first = beside_store(folder.path()).unwrap();
        assert!(beside_store(folder.path()).unwrap().is(&first));
        let path = folder.path().join(NAME);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft stays behind");
        make(&path).unwrap();
        assert!(beside_store(folder.path()).unwrap().is(&first), "it is never overwritten");
    }

    #[test]
    fn a_pepper_that_others_may_read_or_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        beside_store(folder.path()).unwrap();
        let path = folder.path().join(NAME);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(beside_store(folder.path()), Err(PepperError::Exposed { mode: 0o640, .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "short").unwrap();
        assert!(matches!(beside_store(folder.path()), Err(PepperError::Short { .. })));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(beside_store(folder.path()).is_err());
    }
}
