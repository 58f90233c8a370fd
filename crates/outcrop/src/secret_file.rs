//! Files that hold a secret: made once, never overwritten, readable by their owner only.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Writes a secret whole and gives it its name last, so that a crash leaves none or a good one, and one that another
/// process made meanwhile stays.
pub(crate) fn create(path: &Path, secret: &str) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().ok_or_else(|| io::Error::other("it has no name"))?;
    let draft = folder.join(format!("{}.{}", name.display(), std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(secret.as_bytes())?;
        file.sync_all()?;
        match fs::hard_link(&draft, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            Ok(()) | Err(_) => fs::File::open(folder)?.sync_all(),
        }
    })();
    // A draft that stays behind is a secret of nobody's.
    let _ = fs::remove_file(&draft);
    written
}

/// The permissions of a secret that others than its owner may use; none if nobody else may.
pub(crate) fn exposed(path: &Path) -> io::Result<Option<u32>> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o777;
    Ok((mode & 0o077 != 0).then_some(mode))
}
