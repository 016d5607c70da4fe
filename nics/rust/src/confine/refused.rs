//! What becomes of a system call that the filter does not let through.
//!
//! The kernel sends SIGSYS to the thread instead of making the call. The handler has the call fail with
//! EPERM, or with ENOSYS where it is newer than this code, because the C library then takes the older
//! way; counts it, and makes a descriptor readable, so that somebody tells of it. It runs in whatever was
//! interrupted, so it uses atomics and one `write`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// Numbers that are counted, each for itself.
const NUMBERS: usize = 512;
/// The first number that this code knows nothing of (Linux 6.1); on all architectures alike since 5.1.
const NEWER: usize = 451;

static COUNTS: [AtomicU64; NUMBERS] = [const { AtomicU64::new(0) }; NUMBERS];
static BELL: AtomicI32 = AtomicI32::new(-1);

/// Readable when a call was refused for the first time since it was read.
#[derive(Debug)]
pub struct Refused(OwnedFd);

impl AsFd for Refused {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Calls that were refused so far: (number, how often).
#[must_use]
pub fn refused() -> Vec<(i64, u64)> {
    let counts = COUNTS.iter().map(|count| count.load(Ordering::Relaxed));
    (0..).zip(counts).filter(|(_, count)| *count > 0).collect()
}

/// Handle the signal from now on.
pub fn listen() -> io::Result<Refused> {
    // SAFETY: no pointers.
    let bell = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if bell < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, and nobody else's.
    let bell = unsafe { OwnedFd::from_raw_fd(bell) };
    // The handler has a descriptor of its own, which is never closed: it may run at any time.
    BELL.store(bell.try_clone()?.into_raw_fd(), Ordering::Release);
    // SAFETY: sigaction is plain data, for which all zeros is a valid value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_sigsys;
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the handler has the signature that SA_SIGINFO asks for and does only what a handler may.
    if unsafe { libc::sigaction(libc::SIGSYS, &raw const action, ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Refused(bell))
}

extern "C" fn on_sigsys(_signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    /// The reason that only a filter gives (SYS_SECCOMP).
    const BY_FILTER: libc::c_int = 1;
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo.
    if unsafe { (*info).si_code } != BY_FILTER {
        return;
    }
    // SAFETY: with SA_SIGINFO the context is the interrupted thread's, ours alone until we return.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let number = usize::try_from(called(context)).unwrap_or(usize::MAX);
    if number >= NEWER {
        answer(context, libc::ENOSYS);
        return;
    }
    answer(context, libc::EPERM);
    if let Some(count) = COUNTS.get(number)
        && count.fetch_add(1, Ordering::Relaxed) == 0
    {
        let one = 1_u64;
        // SAFETY: eight bytes are read from a value that lives through the call. That errno changes is no
        // matter: the call that was refused sets it.
        unsafe { libc::write(BELL.load(Ordering::Acquire), (&raw const one).cast(), size_of::<u64>()) };
    }
}

/// The number of the call that was not made: the kernel put it back as it was.
#[cfg(target_arch = "x86_64")]
fn called(context: &libc::ucontext_t) -> i64 {
    context.uc_mcontext.gregs[libc::REG_RAX as usize]
}

#[cfg(target_arch = "x86_64")]
fn answer(context: &mut libc::ucontext_t, errno: i32) {
    context.uc_mcontext.gregs[libc::REG_RAX as usize] = i64::from(-errno);
}

#[cfg(target_arch = "aarch64")]
fn called(context: &libc::ucontext_t) -> i64 {
    context.uc_mcontext.regs[8].cast_signed()
}

#[cfg(target_arch = "aarch64")]
fn answer(context: &mut libc::ucontext_t, errno: i32) {
    context.uc_mcontext.regs[0] = i64::from(-errno).cast_unsigned();
}

/// Elsewhere there is no filter that could send the signal (`calls.rs`).
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn called(_context: &libc::ucontext_t) -> i64 {
    -1
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn answer(_context: &mut libc::ucontext_t, _errno: i32) {}
