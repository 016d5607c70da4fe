//! A switch's folder: made if it is not there, and gone with its door if it was made for it.
//!
//! It is for our own user (0700), as a socket file is. One that is there already keeps its mode, which
//! may let a group in, and stays. What a killed process left in it is removed.

use crate::error::OpenError;
use crate::socket::claim::{alive, plain};
use crate::socket::{Endpoint, endpoint};
use socket2::{SockAddr, Type};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The socket in it that plugs connect to.
const CONTROL: &str = "ctl";
/// The longest name of a socket in it: libvdeplug's `/.PID-NUMBER`, each of up to seven digits.
const LONGEST: usize = "/.1234567-1234567".len();

/// See the top of the file.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    ours: bool,
}

impl Folder {
    /// Make it, or take the one that is there if nobody else's switch lives in it.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let shown = path.display();
        let control = control_of(path)?;
        let made = fs::DirBuilder::new().mode(0o700).create(path);
        let ours = match made {
            Ok(()) => true,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => false,
            Err(e) => {
                let remedy = match e.raw_os_error() {
                    Some(libc::ENOENT | libc::ENOTDIR) => "make the folder that it is in first",
                    _ => "check who may write there, or choose another folder",
                };
                return Err(OpenError::new(format!("can't make the folder {shown}: {}", plain(&e)), remedy));
            }
        };
        let found = fs::symlink_metadata(path)
            .map_err(|e| OpenError::new(format!("can't look at {shown}: {}", plain(&e)), ""))?;
        // SAFETY: no pointers; it can't fail.
        let us = unsafe { libc::geteuid() };
        if !found.is_dir() || found.uid() != us {
            return Err(OpenError::new(
                format!("{shown} is not a folder of yours"),
                "remove it, or choose another one; `role: client` plugs into a switch of somebody else",
            ));
        }
        let mut folder = Folder { path: path.into(), ours };
        let address = control.address()?;
        if !ours && fs::symlink_metadata(path.join(CONTROL)).is_ok() {
            if matches!(alive(&address, Type::STREAM), Ok(Some(true))) {
                return Err(OpenError::new(
                    format!("another VDE switch lives in {shown}"),
                    "stop it or choose another folder; `role: client` plugs into it",
                ));
            }
            // A switch that was killed: the folder would have gone with it.
            folder.ours = true;
            folder.sweep();
        }
        Ok(folder)
    }

    /// Remove sockets that nobody has open any more.
    fn sweep(&self) {
        // Where it may not be read, or what may not be removed, stays; it is in nobody's way.
        let Ok(entries) = fs::read_dir(&self.path) else { return };
        for entry in entries.flatten() {
            let is_socket = entry.file_type().is_ok_and(|kind| kind.is_socket());
            let Ok(address) = SockAddr::unix(entry.path()) else { continue };
            if is_socket && matches!(alive(&address, Type::DGRAM), Ok(Some(false))) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.ours && fs::remove_dir(&self.path).is_err() {
            self.sweep();
            // Somebody keeps something there: then the folder is theirs now.
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// Where plugs connect to, in a folder whose name leaves room for the names of sockets.
pub fn control_of(path: &Path) -> Result<Endpoint, OpenError> {
    const MOST: usize = endpoint::PATH_MAX - LONGEST;
    let length = path.as_os_str().len();
    if length > MOST {
        return Err(OpenError::new(
            format!("the folder {} is {length} bytes long, and at most {MOST} are possible", path.display()),
            "choose a shorter name, or a shorter runtime folder (XDG_RUNTIME_DIR)",
        ));
    }
    Ok(Endpoint::Path(path.join(CONTROL)))
}
