//! The data sockets of a plug, made on our side: where they are bound, and whom they are connected to.

use super::reach::{self, Reached};
use super::words::Name;
use crate::socket::claim::{self, Claim, plain};
use crate::socket::{calls, many};
use socket2::{Domain, Socket, Type};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// Room for bursts of the longest frames.
const BUFFER: libc::c_int = 64 * 65_536;

/// A socket for frames, and its file.
#[derive(Debug)]
pub struct Own {
    pub socket: Socket,
    pub name: Name,
    file: Option<Claim>,
}

/// A plug that is in: frames come and go.
#[derive(Debug)]
pub struct Plug {
    pub socket: Socket,
    /// Frames may be sent: see `reach.rs`.
    pub proved: bool,
    _ours: Option<Claim>,
    /// Theirs too goes with the plug, should it be left there.
    _theirs: Option<Claim>,
}

fn socket() -> Result<Socket, String> {
    let made = Socket::new(Domain::UNIX, Type::DGRAM.nonblocking().cloexec(), None)
        .map_err(|e| format!("no data socket can be made: {}", plain(&e)))?;
    calls::take_descriptors(&made, false);
    calls::buffers(&made, BUFFER);
    Ok(made)
}

/// A number that no other socket of this process has in its name; five digits.
fn serial() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed) % 100_000
}

/// As a switch: connect to what a plug has named, and only then be there under a name, so that nobody
/// else can have sent anything. Also the name, which the plug must be told.
pub fn take(theirs: &Name, folder: &Path, owner: u32) -> Result<(Plug, Name), String> {
    let socket = socket()?;
    let Reached { proved, file } = reach::connect(&socket, theirs, folder, &[owner])?;
    let theirs = file.map(|(path, found)| Claim::of(path, &found));
    let path = folder.join(format!("001.{}", serial()));
    let ours = claim::take(&socket, &path, Type::DGRAM, 0o600).map_err(|e| e.to_string())?;
    let plug = Plug { socket, proved, _ours: Some(ours), _theirs: theirs };
    Ok((plug, Name::Path(path)))
}

/// As a plug: a socket that the switch, which runs as user `switch`, can find and use.
pub fn offer(folder: &Path, switch: u32) -> Result<Own, String> {
    let socket = socket()?;
    let path = folder.join(format!(".{:05}-{:05}", std::process::id(), serial()));
    match claim::take(&socket, &path, Type::DGRAM, 0o600) {
        Ok(file) => {
            if !calls::is_trusted(switch) {
                let _ = fs::set_permissions(&path, fs::Permissions::from_mode(mode_for(folder)));
            }
            Ok(Own { socket, name: Name::Path(path), file: Some(file) })
        }
        Err(_) => nameless(socket),
    }
}

/// What lets another user's switch in: its group, where the folder hands that on, or else everybody whom
/// the folder lets in. Who is in time to send to us before the switch does is thrown away by `settle`.
fn mode_for(folder: &Path) -> u32 {
    let hands_on = fs::metadata(folder).is_ok_and(|m| m.mode() & libc::S_ISGID != 0);
    if hands_on { 0o660 } else { 0o666 }
}

/// Where the folder can't be written to (a sandbox that was closed before the switch was there, a
/// read-only mount), an abstract name does, as Bochs has it.
fn nameless(socket: Socket) -> Result<Own, String> {
    let mut bytes = vec![0];
    bytes.extend(format!("vnet.{:05}-{:05}", std::process::id(), serial()).bytes());
    bytes.resize(size_of::<libc::sockaddr_un>() - size_of::<libc::sa_family_t>(), 0);
    let name = Name::Abstract(bytes);
    let address = name.address().ok_or("no name can be made")?;
    socket.bind(&address).map_err(|e| format!("no data socket can be named: {}", plain(&e)))?;
    Ok(Own { socket, name, file: None })
}

/// As a plug: connect to the socket that the switch has named. `switch` is the user it runs as; one that
/// runs as root gives its sockets to the plug's user.
pub fn settle(own: Own, theirs: &Name, folder: &Path, switch: u32) -> Result<Plug, String> {
    // SAFETY: no pointers; it can't fail.
    let us = unsafe { libc::geteuid() };
    let Reached { proved, .. } = reach::connect(&own.socket, theirs, folder, &[switch, us])?;
    // What came before it was connected may be from anybody, and from now on it is the switch alone.
    for _ in 0..MOST_EARLY {
        if !matches!(many::discard(&own.socket), Ok((n, _)) if n > 0) {
            break;
        }
    }
    Ok(Plug { socket: own.socket, proved, _ours: own.file, _theirs: None })
}

/// Bursts: more than `net.unix.max_dgram_qlen` lets anybody queue.
const MOST_EARLY: usize = 64;
