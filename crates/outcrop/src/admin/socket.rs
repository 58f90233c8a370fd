//! The operator's unix socket: whoever may open the file is the operator.
//!
//! The file is there with mode 0600 before anybody can connect, the one that a dead process left is
//! replaced, that of a living one is not, and it goes with its process.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

/// Connections that may wait in the kernel's queue.
const BACKLOG: i32 = 64;

/// Why there is no operator's socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process serves it.
    #[error(
        "another gateway already serves {}; stop it, or give this one a socket of its own \
         (`operator` in [listen])", .0.display()
    )]
    Taken(PathBuf),
    /// Something else has that name.
    #[error("{} is there and is no socket; name another file (`operator` in [listen])", .0.display())]
    Occupied(PathBuf),
    /// The system refuses.
    #[error("the operator's socket {} cannot be made: {error} (`operator` in [listen])", .path.display())]
    System {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// The socket; its file goes with it and its name.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    name: Arc<Name>,
}

/// The name of a socket; it goes with the last that holds it.
#[derive(Debug)]
pub(crate) struct Name {
    path: Mutex<PathBuf>,
    // Device and inode: a file that somebody else put there later stays.
    identity: (u64, u64),
}

impl Socket {
    /// Makes the socket and listens.
    pub(crate) fn bind(path: &Path) -> Result<Self, SocketError> {
        let system = |error| SocketError::System { path: path.to_owned(), error };
        // Of two processes that start at once, one looks after the other has finished. A folder that
        // cannot be locked is no reason to do without the socket.
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let lock = File::open(folder).map_err(system)?;
        let _ = lock.lock();
        clear(path)?;
        Self::listen(path).map_err(system)
    }

    fn listen(path: &Path) -> io::Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&socket2::SockAddr::unix(path)?)?;
        // Nobody is let in before `listen`.
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        socket.listen(BACKLOG)?;
        let name = Name { path: Mutex::new(path.to_owned()), identity: identity(path)? };
        let listener = UnixListener::from(std::os::fd::OwnedFd::from(socket));
        Ok(Self { listener, name: Arc::new(name) })
    }

    /// Its name.
    pub(crate) fn name(&self) -> Arc<Name> {
        Arc::clone(&self.name)
    }

    /// A connection that has been made already.
    pub(crate) fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().map(|(stream, _)| stream)
    }

    /// The listener, for the runtime that this is called in.
    pub(crate) fn listener(&self) -> io::Result<tokio::net::UnixListener> {
        tokio::net::UnixListener::from_std(self.listener.try_clone()?)
    }
}

impl Name {
    /// Keeps the socket by a second name while another process may take the first.
    pub(crate) fn keep(&self) -> io::Result<Kept> {
        let path = self.path.lock().clone();
        let mut aside = path.clone().into_os_string();
        aside.push(".kept");
        let aside = PathBuf::from(aside);
        match fs::remove_file(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::hard_link(&path, &aside)?,
        }
        Ok(Kept { path, aside })
    }

    /// Takes the place of the socket of that name, whose process is about to end.
    pub(crate) fn replace(&self, path: &Path) -> io::Result<()> {
        let mut own = self.path.lock();
        fs::rename(&*own, path)?;
        path.clone_into(&mut own);
        Ok(())
    }
}

/// A second name of a socket; it goes with its value.
#[derive(Debug)]
pub(crate) struct Kept {
    path: PathBuf,
    aside: PathBuf,
}

impl Kept {
    /// Gives the socket its first name again, whoever has that: a process that ended before it served.
    pub(crate) fn restore(self) -> io::Result<()> {
        // Of two names of one file nothing happens here, and the second goes with the value.
        fs::rename(&self.aside, &self.path)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Gone where it was restored.
        let _ = fs::remove_file(&self.aside);
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let path = self.path.get_mut();
        if identity(path).is_ok_and(|there| there == self.identity) {
            // Whatever stays is replaced at the next start.
            let _ = fs::remove_file(path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|there| (there.dev(), there.ino()))
}

/// Removes the socket of a process that is gone.
fn clear(path: &Path) -> Result<(), SocketError> {
    let system = |error| SocketError::System { path: path.to_owned(), error };
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system(error)),
    };
    if !there.file_type().is_socket() {
        return Err(SocketError::Occupied(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(system)
        }
        // A full queue or a missing permission: somebody is there all the same.
        Ok(_) | Err(_) => Err(SocketError::Taken(path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_sockets_file_is_replaced_and_a_living_ones_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outcrop.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a dead process leaves its file");
        let socket = Socket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(matches!(Socket::bind(&path), Err(SocketError::Taken(_))));
        drop(socket);
        assert!(!path.exists(), "it goes with its process");
    }

    #[test]
    fn a_successors_socket_takes_the_place_and_outlives_the_former() {
        let folder = tempfile::tempdir().unwrap();
        let (path, beside) = (folder.path().join("outcrop.sock"), folder.path().join("outcrop.sock.1"));
        let former = Socket::bind(&path).unwrap();
        let next = Socket::bind(&beside).unwrap();
        next.name().replace(&path).unwrap();
        drop(former);
        assert!(UnixStream::connect(&path).is_ok() && next.accept().is_ok() && !beside.exists());
        drop(next);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_whose_successor_ended_has_its_name_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, beside) = (folder.path().join("outcrop.sock"), folder.path().join("outcrop.sock.1"));
        let former = Socket::bind(&path).unwrap();
        for taken in [true, false] {
            let kept = former.name().keep().unwrap();
            if taken {
                let next = Socket::bind(&beside).unwrap();
                next.name().replace(&path).unwrap();
                // Killed, so its file stays.
                std::mem::forget(next.name());
                drop(next);
            }
            kept.restore().unwrap();
            assert!(UnixStream::connect(&path).is_ok() && former.accept().is_ok(), "taken: {taken}");
        }
        drop(former.name().keep().unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
        drop(former);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_socket_of_ours_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outcrop.sock");
        fs::write(&path, "mine").unwrap();
        assert!(matches!(Socket::bind(&path), Err(SocketError::Occupied(_))));
        fs::remove_file(&path).unwrap();
        let socket = Socket::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        drop(socket);
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}
