//! A write that a front-end could have wait for ever.
//!
//! An eventfd that a front-end gave us is shared with it, and so is the flag that says whether a write waits
//! while its counter is full: set not to block by us, it can be set to block again, and filled, between any
//! look of ours and the write. The engine's thread would wait there with everybody's frames. No other way to
//! raise the counter is as quick as a write (by native AIO it takes two and a half times as long).
//!
//! So writes go on while a timer of the thread's own runs, whose signal ends a call that waits (EINTR) and
//! does nothing to one that doesn't. It is set by the first write after it went off, which is one short
//! system call for all writes of 20 ms, and it is not set while nobody is interrupted. The order matters: we
//! say that we write, then look whether it is set, then write. If it goes off in between, the handler sees
//! that we write and sets it again; that one ends the wait.
//!
//! The handler uses this thread's variables and `timer_settime`, which may be called there (POSIX.1-2024,
//! 2.4.3). Without a timer (a filter refuses it, or all signals are taken) the write is one as any other.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{Ordering, compiler_fence};

/// After so long a write that waits is given up; after twice as long if the timer goes off just before it.
const PATIENCE_NS: libc::c_long = 20_000_000;

/// What the handler shares with the thread that it interrupts.
struct Watch {
    /// A write is about to begin, or goes on.
    writing: Cell<bool>,
    /// The timer is set.
    set: Cell<bool>,
    timer: Cell<Timer>,
}

#[derive(Clone, Copy)]
enum Timer {
    Unmade,
    /// It can't be had.
    None,
    Made(libc::timer_t),
}

thread_local! {
    static WATCH: Watch = const {
        Watch { writing: Cell::new(false), set: Cell::new(false), timer: Cell::new(Timer::Unmade) }
    };
    /// Takes the timer away with its thread.
    static END: End = const { End };
}

struct End;

impl Drop for End {
    fn drop(&mut self) {
        WATCH.with(|watch| {
            if let Timer::Made(timer) = watch.timer.replace(Timer::None) {
                // SAFETY: it was made by `timer_create` and is deleted once.
                unsafe { libc::timer_delete(timer) };
            }
        });
    }
}

/// Raise the eventfd `fd` by one. False: that waited until it was given up.
pub fn raise(fd: BorrowedFd<'_>) -> bool {
    WATCH.with(|watch| {
        watch.writing.set(true);
        compiler_fence(Ordering::SeqCst);
        if !watch.set.get() {
            start(watch);
        }
        let one = 1u64;
        // SAFETY: eight bytes of a local.
        let n = unsafe { libc::write(fd.as_raw_fd(), (&raw const one).cast(), 8) };
        let gave_up = n < 0 && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted;
        compiler_fence(Ordering::SeqCst);
        watch.writing.set(false);
        !gave_up
    })
}

fn start(watch: &Watch) {
    let timer = match watch.timer.get() {
        Timer::Made(timer) => timer,
        Timer::None => return,
        Timer::Unmade => {
            END.with(|_| {});
            match make() {
                Some(timer) => {
                    watch.timer.set(Timer::Made(timer));
                    timer
                }
                None => return watch.timer.set(Timer::None),
            }
        }
    };
    watch.set.set(set(timer));
}

fn set(timer: libc::timer_t) -> bool {
    let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let once =
        libc::itimerspec { it_interval: never, it_value: libc::timespec { tv_sec: 0, tv_nsec: PATIENCE_NS } };
    // SAFETY: the timer is this thread's and not deleted yet; the value lives through the call.
    unsafe { libc::timer_settime(timer, 0, &raw const once, ptr::null_mut()) == 0 }
}

/// A timer whose signal comes to this thread.
fn make() -> Option<libc::timer_t> {
    let signal = (*SIGNAL.get_or_init(take_signal))?;
    // SAFETY: plain data, for which zeros are valid; the pointers live through the calls.
    unsafe {
        let mut mask: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut mask);
        libc::sigaddset(&raw mut mask, signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const mask, ptr::null_mut());
        let mut event: libc::sigevent = std::mem::zeroed();
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal;
        event.sigev_notify_thread_id = libc::gettid();
        let mut timer = MaybeUninit::uninit();
        let made = libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, timer.as_mut_ptr());
        (made == 0).then(|| timer.assume_init())
    }
}

static SIGNAL: OnceLock<Option<libc::c_int>> = OnceLock::new();

/// A real-time signal that nobody has a handler for, with ours.
fn take_signal() -> Option<libc::c_int> {
    // The first ones are those that people use.
    (libc::SIGRTMIN() + 8..libc::SIGRTMAX()).find(|&signal| {
        // SAFETY: plain data, for which zeros are valid; the pointers live through the calls. The handler has
        // the signature of one without SA_SIGINFO, and only does what a handler may.
        unsafe {
            let mut there: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(signal, ptr::null(), &raw mut there) != 0
                || there.sa_sigaction != libc::SIG_DFL
            {
                return false;
            }
            let mut ours: libc::sigaction = std::mem::zeroed();
            // Without SA_RESTART: what it interrupts ends.
            ours.sa_flags = libc::SA_ONSTACK;
            ours.sa_sigaction = went_off as *const () as usize;
            libc::sigaction(signal, &raw const ours, ptr::null_mut()) == 0
        }
    })
}

extern "C" fn went_off(_signal: libc::c_int) {
    // The thread has used it before, or it would have no timer: looking at it allocates nothing.
    let _ = WATCH.try_with(|watch| {
        // SAFETY: a thread's own `errno`, which what was interrupted may be about to read.
        let errno = unsafe { *libc::__errno_location() };
        let again = watch.writing.get() && matches!(watch.timer.get(), Timer::Made(timer) if set(timer));
        watch.set.set(again);
        // SAFETY: as above.
        unsafe { *libc::__errno_location() = errno };
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::fd::{AsFd, FromRawFd, OwnedFd};

    fn full(flags: libc::c_int) -> OwnedFd {
        let most = u64::MAX - 1;
        // SAFETY: no pointers but one to eight bytes of a local; the result is owned here alone.
        unsafe {
            let fd = OwnedFd::from_raw_fd(libc::eventfd(0, flags | libc::EFD_CLOEXEC));
            assert_eq!(libc::write(fd.as_raw_fd(), (&raw const most).cast(), 8), 8);
            fd
        }
    }

    #[test]
    fn a_write_that_waits_is_given_up_and_one_that_does_not_is_done() {
        // On a thread of its own, whose timer goes with it.
        std::thread::spawn(|| {
            assert!(!raise(full(0).as_fd()), "full, and it blocks");
            assert!(!raise(full(0).as_fd()), "and again, whatever the timer does just then");
            assert!(raise(full(libc::EFD_NONBLOCK).as_fd()), "full: it is readable already");
            // SAFETY: no pointers; the result is owned here alone.
            let fd = unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_CLOEXEC)) };
            // For longer than the timer takes, so that it goes off at all places.
            let until = crate::clock::monotonic() + 3 * PATIENCE_NS as u64;
            let mut sum = 0u64;
            while crate::clock::monotonic() < until {
                assert!(raise(fd.as_fd()));
                sum += 1;
            }
            let mut count = 0u64;
            // SAFETY: eight bytes of a local.
            unsafe { libc::read(fd.as_raw_fd(), (&raw mut count).cast(), 8) };
            assert_eq!(count, sum, "none was lost");
        })
        .join()
        .unwrap();
    }
}
