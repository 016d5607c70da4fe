//! A process gives up what it no longer needs, for good.
//!
//! The facts: capabilities, `no_new_privs` and Landlock domains belong to threads, not to processes.
//! A thread hands them on to threads that it starts, and nobody can change another thread's. Only
//! seccomp filters can be put on all threads at once (`TSYNC`). A fabric has threads long before it
//! knows that its doors are open: the engine's, the one for netlink, Python's workers.
//!
//! So [`confine`] has every thread confine itself, by a signal (`threads.rs`), looks that none was
//! missed, and puts the filter on all of them last, because it forbids much of what was done before.
//! Afterwards the kernel is asked what it knows of each thread; what was not confined is an error,
//! and the caller is to end.
//!
//! `paths.rs` is what of the file system and of TCP is left (Landlock), `calls.rs` which system
//! calls (seccomp), `refused.rs` what becomes of the others: they fail with EPERM, and the first of
//! each kind is told. Nothing is killed for it, because a fabric carries many tenants, and a call that
//! does not happen harms none of them.

mod calls;
mod paths;
mod refused;
mod threads;

pub use calls::{MORE, name};
pub use paths::{Access, Rule};
pub use refused::{Refused, refused};

use std::io;
use std::os::fd::AsRawFd;

/// What is left to a process.
#[derive(Debug, Default)]
pub struct Plan {
    /// Capabilities, a bit each.
    pub capabilities: u64,
    /// What of the file system may be used, and how. What is not there is passed over.
    pub rules: Vec<Rule>,
    /// TCP ports that may be bound and connected to.
    pub bind: Vec<u16>,
    pub connect: Vec<u16>,
    /// Whether abstract sockets of others may be connected to.
    pub abstract_sockets: bool,
    /// Address families (`AF_...`) that new sockets may have.
    pub families: Vec<i32>,
    /// System calls beyond the usual ones, of [`MORE`].
    pub calls: Vec<i64>,
}

/// What came of it.
#[derive(Debug)]
pub struct Confined {
    /// The version of Landlock that enforces the rules; 0: this kernel has none.
    pub landlock: i32,
    /// Whether system calls are filtered.
    pub filtered: bool,
    /// Whether memory can't become executable after it was writable.
    pub no_new_code: bool,
    /// Threads that were confined.
    pub threads: usize,
    /// Readable when a call was refused.
    pub refused: Refused,
}

/// Version of the kernel's Landlock, 0 without.
#[must_use]
pub fn landlock_version() -> i32 {
    paths::version()
}

/// Whether memory of this process can't become executable after it was writable; None: this kernel can't
/// promise it (PR_SET_MDWE, Linux 6.3).
#[must_use]
pub fn no_new_code() -> Option<bool> {
    // SAFETY: no pointers; unknown to the kernel it is an error.
    let answer = unsafe { libc::prctl(libc::PR_GET_MDWE, 0, 0, 0, 0) };
    (answer >= 0).then_some(answer & libc::PR_MDWE_REFUSE_EXEC_GAIN as i32 != 0)
}

/// Confine every thread of this process to `plan`. There is no way back, and after an error there may
/// be threads that are confined and others that aren't.
pub fn confine(plan: &Plan) -> io::Result<Confined> {
    let filters = calls::filters(plan)?;
    let rules = paths::ruleset(plan)?;
    let landlock = if rules.is_some() { paths::version() } else { 0 };
    let refused = refused::listen()?;
    // No core dump of guests' traffic, and nobody of the same user may look into our memory.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    // SAFETY: no pointers. A kernel that doesn't know it says EINVAL, which is told below.
    unsafe { libc::prctl(libc::PR_SET_MDWE, u64::from(libc::PR_MDWE_REFUSE_EXEC_GAIN), 0, 0, 0) };
    let threads = threads::each(plan.capabilities, rules.as_ref().map(AsRawFd::as_raw_fd))?;
    let filtered = calls::apply(&filters)?;
    Ok(Confined { landlock, filtered, no_new_code: no_new_code() == Some(true), threads, refused })
}
