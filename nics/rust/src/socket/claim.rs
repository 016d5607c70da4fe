//! Socket files: made, guarded and given back.
//!
//! A socket file outlives its process, so a path that exists says nothing about whether somebody is
//! there. Connecting does: ECONNREFUSED means that the file is a leftover, and it is replaced;
//! anything else means that somebody lives there, and is left alone.
//!
//! Linux takes the file's mode from the socket's own (`fchmod` before `bind`), so that the file is
//! 0600 from its first moment, without touching the umask, which belongs to the whole process.

use super::calls;
use super::endpoint::Endpoint;
use crate::error::OpenError;
use socket2::{SockAddr, Socket, Type};
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The file of a bound socket. Dropping it removes the file, if it is still this socket's.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    id: (u64, u64),
}

impl Claim {
    /// Of the file at `path`, which was found to be `file`.
    #[must_use]
    pub fn of(path: PathBuf, file: &fs::Metadata) -> Self {
        Claim { path, id: (file.dev(), file.ino()) }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.id) {
            // It may be gone by now, or the folder read-only; neither harms anybody.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A non-blocking socket bound to `endpoint`, and its file if it has one.
pub fn bind(endpoint: &Endpoint, kind: Type) -> Result<(Socket, Option<Claim>), OpenError> {
    let address = endpoint.address()?;
    let socket = new(endpoint, kind)?;
    if let Endpoint::Path(path) = endpoint {
        let claim = take(&socket, path, kind, 0o600)?;
        return Ok((socket, Some(claim)));
    }
    if kind == Type::STREAM && !endpoint.is_unix() {
        // A port that a connection of before still waits on (TIME_WAIT) can be taken again.
        socket.set_reuse_address(true).map_err(|e| cannot("can't set up", endpoint, &e))?;
    }
    if let (Endpoint::Inet(std::net::SocketAddr::V6(_)), Err(e)) = (endpoint, socket.set_only_v6(true)) {
        return Err(cannot("can't set up", endpoint, &e));
    }
    socket.bind(&address).map_err(|e| cannot_bind(endpoint, &e))?;
    Ok((socket, None))
}

/// Bind a unix socket of that kind to a file of its own, which has `mode` from its first moment.
pub fn take(socket: &Socket, path: &Path, kind: Type, mode: libc::mode_t) -> Result<Claim, OpenError> {
    let endpoint = Endpoint::Path(path.into());
    let address = endpoint.address()?;
    evict(path, &address, kind)?;
    // SAFETY: no pointers; the descriptor is open.
    if unsafe { libc::fchmod(socket.as_raw_fd(), mode) } != 0 {
        return Err(cannot("can't set the mode of", &endpoint, &io::Error::last_os_error()));
    }
    socket.bind(&address).map_err(|e| cannot_bind(&endpoint, &e))?;
    let made = fs::symlink_metadata(path).map_err(|e| cannot("can't find again", &endpoint, &e))?;
    Ok(Claim::of(path.into(), &made))
}

/// A non-blocking socket of the kind that `endpoint` needs. To a unix socket nobody can send descriptors, where the
/// kernel sees to that.
pub fn new(endpoint: &Endpoint, kind: Type) -> Result<Socket, OpenError> {
    let socket = Socket::new(endpoint.domain(), kind.nonblocking().cloexec(), None)
        .map_err(|e| cannot("can't make a socket for", endpoint, &e))?;
    if endpoint.is_unix() {
        calls::take_descriptors(&socket, false);
    }
    Ok(socket)
}

/// Whether somebody is at a unix socket address; `None`: nothing is there any more.
pub fn alive(address: &SockAddr, kind: Type) -> io::Result<Option<bool>> {
    let probe = Socket::new(socket2::Domain::UNIX, kind.nonblocking().cloexec(), None)?;
    match probe.connect(address) {
        Ok(()) => Ok(Some(true)),
        Err(e) => match e.raw_os_error() {
            Some(libc::ECONNREFUSED) => Ok(Some(false)),
            Some(libc::ENOENT) => Ok(None),
            // Its queue is full, it speaks to somebody else, or it is of another type: alive.
            Some(libc::EAGAIN | libc::EPERM | libc::EPROTOTYPE) => Ok(Some(true)),
            _ => Err(e),
        },
    }
}

/// Remove a leftover socket file, and nothing else.
fn evict(path: &Path, address: &SockAddr, kind: Type) -> Result<(), OpenError> {
    let endpoint = Endpoint::Path(path.into());
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(cannot("can't look at", &endpoint, &e)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(OpenError::new(
                format!("{endpoint} exists and is not a socket"),
                "remove it, or choose another path",
            ));
        }
        Ok(_) => {}
    }
    match alive(address, kind) {
        Err(e) => Err(cannot("can't tell whether somebody uses", &endpoint, &e)),
        Ok(None) => Ok(()),
        Ok(Some(true)) => Err(OpenError::new(
            format!("somebody else has the socket {endpoint} open"),
            format!("stop it (`ss -xap src {endpoint}` names it), or choose another path"),
        )),
        Ok(Some(false)) => match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(cannot("can't remove the leftover", &endpoint, &e))
            }
            _ => Ok(()),
        },
    }
}

fn cannot(doing: &str, endpoint: &Endpoint, error: &io::Error) -> OpenError {
    let remedy = match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => "check who may write there, or choose another address",
        Some(libc::EMFILE | libc::ENFILE) => "raise the limit of open files (`ulimit -n`)",
        Some(libc::EAFNOSUPPORT) => "this kernel does not speak that protocol: choose another address",
        _ => "",
    };
    OpenError::new(format!("{doing} {endpoint}: {}", plain(error)), remedy)
}

fn cannot_bind(endpoint: &Endpoint, error: &io::Error) -> OpenError {
    let remedy = match (endpoint, error.raw_os_error()) {
        (Endpoint::Path(_), Some(libc::ENOENT | libc::ENOTDIR)) => "make its folder first",
        (Endpoint::Inet(_), Some(libc::EADDRINUSE)) => "`ss -tulnp` names who uses the port",
        (Endpoint::Inet(_), Some(libc::EADDRNOTAVAIL)) => "`ip address` lists the addresses there are here",
        (Endpoint::Inet(_), Some(libc::EACCES)) => "ports below 1024 need root",
        (Endpoint::Abstract(_), Some(libc::EADDRINUSE)) => "`ss -xap` names who has it",
        _ => return cannot("can't bind to", endpoint, error),
    };
    OpenError::new(format!("can't bind to {endpoint}: {}", plain(error)), remedy)
}

/// An error without Rust's "(os error 13)".
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testkit::Folder;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixDatagram, UnixListener};

    #[test]
    fn a_socket_file_is_private_and_goes_with_its_claim() {
        let folder = Folder::new();
        let endpoint = folder.endpoint("a.sock");
        let (_socket, claim) = bind(&endpoint, Type::STREAM).unwrap();
        assert_eq!(fs::metadata(folder.path("a.sock")).unwrap().permissions().mode() & 0o777, 0o600);
        drop(claim);
        assert!(!folder.path("a.sock").exists());
    }

    #[test]
    fn a_leftover_is_replaced_and_a_living_socket_is_not() {
        let folder = Folder::new();
        let path = folder.path("a.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let (socket, claim) = bind(&folder.endpoint("a.sock"), Type::STREAM).unwrap();
        socket.listen(1).unwrap();
        let error = bind(&folder.endpoint("a.sock"), Type::STREAM).unwrap_err();
        assert!(error.what.starts_with("somebody else has the socket "), "{error}");
        assert!(path.exists());
        drop((socket, claim));

        let living = UnixDatagram::bind(&path).unwrap();
        for kind in [Type::DGRAM, Type::STREAM] {
            assert!(bind(&folder.endpoint("a.sock"), kind).is_err(), "{kind:?}");
        }
        drop(living);
        assert!(bind(&folder.endpoint("a.sock"), Type::DGRAM).is_ok());
    }

    #[test]
    fn a_claim_leaves_a_file_alone_that_somebody_else_put_there() {
        let folder = Folder::new();
        let path = folder.path("a.sock");
        let (_socket, claim) = bind(&folder.endpoint("a.sock"), Type::STREAM).unwrap();
        fs::rename(&path, folder.path("old")).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(claim);
        assert!(path.exists());
    }

    #[test]
    fn what_stands_in_the_way_is_named() {
        let folder = Folder::new();
        fs::write(folder.path("file"), "precious").unwrap();
        let error = bind(&folder.endpoint("file"), Type::STREAM).unwrap_err();
        assert!(error.what.ends_with("exists and is not a socket"), "{error}");
        assert_eq!(fs::read(folder.path("file")).unwrap(), b"precious");

        let error = bind(&folder.endpoint("none/a.sock"), Type::STREAM).unwrap_err();
        assert_eq!(error.remedy, "make its folder first");

        let taken = Endpoint::parse("127.0.0.1:0").unwrap();
        let (socket, _) = bind(&taken, Type::STREAM).unwrap();
        socket.listen(1).unwrap();
        let taken = Endpoint::Inet(socket.local_addr().unwrap().as_socket().unwrap());
        let error = bind(&taken, Type::STREAM).unwrap_err();
        assert_eq!(error.remedy, "`ss -tulnp` names who uses the port");

        let nowhere = Endpoint::parse("192.0.2.1:5").unwrap();
        let error = bind(&nowhere, Type::STREAM).unwrap_err();
        assert_eq!(error.remedy, "`ip address` lists the addresses there are here");
    }
}
