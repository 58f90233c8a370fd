//! A process that starts takes the place of the one that runs, and no caller notices.
//!
//! The listening sockets themselves pass, over a unix socket: what waits in the kernel's queue waits on,
//! while a second socket on the same port (`SO_REUSEPORT`) would have a queue of its own, and lose it when
//! it is closed. The one that runs serves until the other says that it does; if that one fails before, nothing
//! has happened. The lock of a SQLite store passes with the sockets, so no third process gets in.

mod ask;
mod give;

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;

pub(crate) use self::ask::{TakeoverError, ask};
pub(crate) use self::give::Successor;

/// What passes from one process to the next, in this order: the data listener, the admin listener, and the
/// lock of the store where it has one.
pub(crate) const PASSED_MAX: usize = 3;
/// Said by the one that runs, with the sockets.
const HERE: &[u8] = b"outcrop takeover 1\n";
/// Said by the one that starts, when it serves.
const SERVING: &[u8] = b"serving\n";

/// What the process before has given.
#[derive(Debug)]
pub(crate) struct Inherited {
    pub(crate) data: TcpListener,
    pub(crate) admin: TcpListener,
    pub(crate) lock: Option<File>,
    line: UnixStream,
}

impl Inherited {
    /// Keeps the line only: closing it before `serving` tells the process before to go on.
    pub(crate) fn split(self) -> (TcpListener, TcpListener, Option<File>, Line) {
        (self.data, self.admin, self.lock, Line(self.line))
    }
}

/// The line to the process before.
#[derive(Debug)]
pub(crate) struct Line(UnixStream);

impl Line {
    /// Tells the process before that it may finish.
    pub(crate) fn serving(mut self) {
        use std::io::Write;
        // One that is gone has finished.
        let _ = self.0.write_all(SERVING);
    }
}
