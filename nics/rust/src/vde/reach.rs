//! Connecting our data socket to the one that the other side has named, and to no other.
//!
//! Whoever may write to our control socket may name any socket there is, and we might have rights that
//! they have not: a plug could have us throw frames at the system's log, or at another guest. So a
//! file is looked for in the switch's own folder first, by its last name alone: there the other side
//! has made it, whatever it calls the folder (a container may have it elsewhere). It must be a socket
//! and belong to whoever is connected, and it is held by a descriptor from that look until it is
//! connected, so that nobody swaps it meanwhile; links are not followed.
//!
//! Names elsewhere, which some plugs have (Dynamips, libvdeplug where it may not write to the folder),
//! and abstract ones (Bochs), prove nothing. With those our socket is connected, and nothing is
//! sent before a frame has come from there: the kernel lets only the socket that ours is connected to
//! send to it, and a bystander never would.

use super::words::Name;
use crate::socket::claim::plain;
use socket2::{SockAddr, Socket};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What our socket was connected to.
#[derive(Debug)]
pub struct Reached {
    /// It is whose it was said to be: frames may go there at once.
    pub proved: bool,
    /// The other side's file, if it is in the switch's folder, and what it was found to be.
    pub file: Option<(PathBuf, Metadata)>,
}

/// Connect `socket` to `name`, which must belong to one of `owners`. As an error, why not.
pub fn connect(socket: &Socket, name: &Name, folder: &Path, owners: &[u32]) -> Result<Reached, String> {
    let told = match name {
        Name::Abstract(_) => {
            let address = name.address().ok_or("it has no name")?;
            socket.connect(&address).map_err(|e| cannot(name, &e))?;
            return Ok(Reached { proved: false, file: None });
        }
        Name::Path(path) => path,
    };
    let last = told.file_name().ok_or_else(|| format!("{name} can't be a socket"))?;
    let here = folder.join(last);
    let (held, found, proved) = match hold(&here) {
        Ok((held, found)) => (held, found, true),
        Err(e) if e.kind() == io::ErrorKind::NotFound && told.is_absolute() => {
            let (held, found) = hold(told).map_err(|e| cannot(name, &e))?;
            (held, found, false)
        }
        Err(e) => return Err(cannot(name, &e)),
    };
    if !found.file_type().is_socket() {
        return Err(format!("{name} is not a socket"));
    }
    if !owners.contains(&found.uid()) {
        return Err(format!("{name} belongs to another user ({})", found.uid()));
    }
    let address =
        SockAddr::unix(format!("/proc/self/fd/{}", held.as_raw_fd())).map_err(|e| cannot(name, &e))?;
    socket.connect(&address).map_err(|e| cannot(name, &e))?;
    Ok(Reached { proved, file: proved.then_some((here, found)) })
}

/// The file at `path` itself, whatever becomes of the name, and what it is.
fn hold(path: &Path) -> io::Result<(File, Metadata)> {
    let held = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)?;
    let found = held.metadata()?;
    Ok((held, found))
}

fn cannot(name: &Name, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => format!("nobody has {name} open"),
        Some(libc::EPROTOTYPE) => format!("{name} is not a datagram socket"),
        Some(libc::EPERM) => format!("{name} speaks to somebody else already"),
        _ => format!("can't reach {name}: {}", plain(error)),
    }
}
