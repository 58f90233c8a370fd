//! The side of the process that starts.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Method;
use outcrop_admin::takeover::TakeoverOrder;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::json;

use super::{HERE, Inherited, PASSED_MAX};
use crate::admin::{Socket, SocketError};
use crate::operator::{self, OperatorError};

/// Longest wait for the sockets once the process that runs has agreed.
const GIVEN_MAX: Duration = Duration::from_secs(10);

/// Why a process cannot take over.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// The one that runs does not agree.
    #[error("the gateway that runs does not hand over: {0}")]
    Refused(OperatorError),
    /// There is no place to meet.
    #[error("no place for the takeover: {0}")]
    Place(#[from] SocketError),
    /// The sockets did not come.
    #[error("the gateway that runs did not hand its sockets over: {0}")]
    Lost(#[from] io::Error),
    /// Its sockets are not those that the file asks for.
    #[error(
        "the gateway that runs listens on {there}, the file says {here}; a takeover keeps addresses: end \
         that one first, or change the file back"
    )]
    Elsewhere {
        /// Of the running gateway.
        there: SocketAddr,
        /// Of the file.
        here: SocketAddr,
    },
}

/// Asks the gateway behind `operator` for its sockets; `None` where none runs.
pub(crate) fn ask(operator: &Path) -> Result<Option<Inherited>, TakeoverError> {
    let meet = meeting_place(operator);
    let place = Socket::bind(&meet)?;
    // The order is carried out when its answer comes: by then the other side has connected.
    let order = json!(TakeoverOrder { meet });
    match operator::call(operator, Method::POST, "/admin/v1/takeover", Some(&order)) {
        Ok(_) => {}
        Err(OperatorError::Unreachable { error, .. })
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(TakeoverError::Refused(error)),
    }
    let line = place.accept()?;
    line.set_nonblocking(false)?;
    line.set_read_timeout(Some(GIVEN_MAX))?;
    receive(line).map(Some)
}

/// Beside the operator's socket, in the same hands.
fn meeting_place(operator: &Path) -> PathBuf {
    let mut name = operator.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    PathBuf::from(name)
}

fn receive(line: UnixStream) -> Result<Inherited, TakeoverError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PASSED_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut said = [0; HERE.len()];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got =
        recvmsg(&line, &mut [IoSliceMut::new(&mut said)], &mut control, flags).map_err(io::Error::from)?;
    let mut passed = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect::<Vec<OwnedFd>>(),
        _ => Vec::new(),
    });
    let (data, admin, lock) = (passed.next(), passed.next(), passed.next());
    let (Some(data), Some(admin), true) = (data, admin, got.bytes == HERE.len() && said == *HERE) else {
        let text = "it speaks another version of the takeover; end that one first";
        return Err(io::Error::new(io::ErrorKind::InvalidData, text).into());
    };
    Ok(Inherited {
        data: TcpListener::from(data),
        admin: TcpListener::from(admin),
        lock: lock.map(File::from),
        line,
    })
}

/// Whether a socket is the one that the file asks for.
pub(super) fn same(listener: &TcpListener, here: SocketAddr) -> Result<(), TakeoverError> {
    let there = listener.local_addr()?;
    let is_same = there.ip() == here.ip() && (here.port() == 0 || there.port() == here.port());
    if is_same { Ok(()) } else { Err(TakeoverError::Elsewhere { there, here }) }
}

impl Inherited {
    /// Whether the sockets are those that the file asks for.
    pub(crate) fn check(&self, data: SocketAddr, admin: SocketAddr) -> Result<(), TakeoverError> {
        same(&self.data, data)?;
        same(&self.admin, admin)
    }
}
