//! What of the file system, TCP and other processes is left: a Landlock ruleset.
//!
//! A kernel enforces what its version knows: files since 1, truncation since 3, TCP since 4, device
//! requests (ioctl) since 5, signals and abstract sockets since 6. Rights hold for descriptors that
//! are opened afterwards; what is open stays as it is. Connecting to a unix socket by its path is no
//! right that is handled here: doors may connect wherever their user may.

use super::Plan;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope, make_bitflags,
};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// What may be done with a path and all beneath it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing what is there.
    Write,
    /// Everything that a folder of one's own is for: files, sockets and folders come and go.
    Own,
    /// Sockets come and go; files may be looked for, not read.
    Sockets,
    /// Empty folders may go.
    Prune,
    /// Opening a device.
    Device,
}

impl Access {
    fn rights(self) -> BitFlags<AccessFs> {
        match self {
            Access::Read => make_bitflags!(AccessFs::{ReadFile | ReadDir}),
            Access::Write => make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | Truncate}),
            Access::Own => make_bitflags!(AccessFs::{
                ReadFile | ReadDir | WriteFile | Truncate | RemoveFile | RemoveDir
                | MakeReg | MakeDir | MakeSock
            }),
            Access::Sockets => make_bitflags!(AccessFs::{MakeSock | RemoveFile}),
            Access::Prune => make_bitflags!(AccessFs::{RemoveDir}),
            Access::Device => make_bitflags!(AccessFs::{ReadFile | WriteFile | IoctlDev}),
        }
    }
}

/// One path and what is left of it.
#[derive(Debug, Clone)]
pub struct Rule {
    pub path: PathBuf,
    pub access: Access,
}

/// Version of the kernel's Landlock, 0 without.
pub fn version() -> i32 {
    const VERSION: u32 = 1;
    // SAFETY: with this flag nothing is read or written; the answer is a number.
    let found =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, VERSION) };
    i32::try_from(found).unwrap_or(0).max(0)
}

/// The rules of `plan`, ready to be entered; None where the kernel has no Landlock.
pub fn ruleset(plan: &Plan) -> io::Result<Option<OwnedFd>> {
    build(plan).map_err(io::Error::other)
}

fn build(plan: &Plan) -> Result<Option<OwnedFd>, landlock::RulesetError> {
    let mut scopes: BitFlags<Scope> = Scope::Signal.into();
    if !plan.abstract_sockets {
        scopes |= Scope::AbstractUnixSocket;
    }
    let mut created = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(make_bitflags!(AccessNet::{BindTcp | ConnectTcp}))?
        .scope(scopes)?
        .create()?;
    for rule in &plan.rules {
        let Ok(fd) = PathFd::new(&rule.path) else { continue };
        let mut rights = rule.access.rights();
        if !rule.path.is_dir() {
            rights &= AccessFs::from_file(ABI::V5);
        }
        created = created.add_rule(PathBeneath::new(fd, rights))?;
    }
    for (ports, right) in [(&plan.bind, AccessNet::BindTcp), (&plan.connect, AccessNet::ConnectTcp)] {
        for port in ports {
            created = created.add_rule(NetPort::new(*port, right))?;
        }
    }
    Ok(created.into())
}
