//! Every thread of the process confines itself, because nobody else can do it for it.
//!
//! A signal goes to each thread that `/proc/self/task` lists, and its handler makes the system calls;
//! then it says so. A thread that was started meanwhile by one that was not confined yet shows up in
//! the next listing; one that was started by a confined thread has inherited all of it, and being
//! confined twice does no harm. It is done when a listing has nobody new. The C library does the same
//! for `setuid`, and libpsx for capabilities.

use rustix::thread::{CapabilitySet, CapabilitySets};
use std::collections::BTreeSet;
use std::io;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};
use std::time::{Duration, Instant};

/// How long a thread may take until it has handled the signal: it may be in the kernel for a while.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_micros(200);
/// Threads that one round can be for; the next round is for the rest.
const MOST: usize = 256;

const WAITING: i32 = 0;
const DONE: i32 = -1;

/// What the handler is to do, and for whom it has.
struct Job {
    capabilities: u64,
    ruleset: i32,
    /// (thread, [`WAITING`], [`DONE`] or an errno) each; thread 0: free.
    slots: [(AtomicI32, AtomicI32); MOST],
}

static JOB: AtomicPtr<Job> = AtomicPtr::new(ptr::null_mut());

/// Confine every thread; how many there were.
pub fn each(capabilities: u64, ruleset: Option<i32>) -> io::Result<usize> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock();
    let signal = libc::SIGRTMAX() - 1;
    let job = Box::new(Job {
        capabilities,
        ruleset: ruleset.unwrap_or(-1),
        slots: [const { (AtomicI32::new(0), AtomicI32::new(WAITING)) }; MOST],
    });
    // Kept for ever: a thread that was slow may still look at it.
    let job: &'static Job = Box::leak(job);
    JOB.store(ptr::from_ref(job).cast_mut(), Ordering::Release);
    // SAFETY: sigaction is plain data, for which all zeros is a valid value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int) = on_signal;
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: the handler has the signature of one without SA_SIGINFO, and stays where it is.
    if unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let threads = others(job, signal)?;
    // The caller comes last: it has to list the others, which it may not be able to afterwards.
    apply(capabilities, job.ruleset).map_err(io::Error::from_raw_os_error)?;
    Ok(threads)
}

fn others(job: &Job, signal: i32) -> io::Result<usize> {
    // SAFETY: no pointers.
    let (process, own) = unsafe { (libc::getpid(), libc::gettid()) };
    let deadline = Instant::now() + PATIENCE;
    let mut done = BTreeSet::from([own]);
    loop {
        let fresh: Vec<i32> =
            listed()?.into_iter().filter(|thread| !done.contains(thread)).take(MOST).collect();
        if fresh.is_empty() {
            return Ok(done.len());
        }
        for (thread, slot) in fresh.iter().zip(&job.slots) {
            slot.1.store(WAITING, Ordering::Relaxed);
            slot.0.store(*thread, Ordering::Release);
            // SAFETY: no pointers. A thread that has ended meanwhile is no matter.
            unsafe { libc::syscall(libc::SYS_tgkill, process, *thread, signal) };
        }
        for (thread, slot) in fresh.iter().zip(&job.slots) {
            loop {
                match slot.1.load(Ordering::Acquire) {
                    DONE => break,
                    WAITING if !exists(*thread) => break,
                    WAITING if Instant::now() > deadline => {
                        return Err(io::Error::other(format!(
                            "thread {thread} can't be confined: it is stuck"
                        )));
                    }
                    WAITING => std::thread::sleep(PAUSE),
                    error => return Err(io::Error::from_raw_os_error(error)),
                }
            }
            slot.0.store(0, Ordering::Release);
            done.insert(*thread);
        }
    }
}

fn listed() -> io::Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc/self/task")? {
        found.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    Ok(found)
}

fn exists(thread: i32) -> bool {
    std::path::Path::new(&format!("/proc/self/task/{thread}")).exists()
}

extern "C" fn on_signal(_signal: libc::c_int) {
    // SAFETY: the place is this thread's own; it is put back as the interrupted code had it.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { *errno };
    let job = JOB.load(Ordering::Acquire);
    // SAFETY: null, or a Job that is never freed.
    if let Some(job) = unsafe { job.as_ref() } {
        // SAFETY: no pointers.
        let own = unsafe { libc::gettid() };
        if let Some(slot) = job.slots.iter().find(|slot| slot.0.load(Ordering::Acquire) == own) {
            slot.1.store(apply(job.capabilities, job.ruleset).err().unwrap_or(DONE), Ordering::Release);
        }
    }
    // SAFETY: as above.
    unsafe { *errno = before };
}

/// Confine the calling thread; an errno. It makes system calls and nothing else, as a signal's handler
/// must.
fn apply(capabilities: u64, ruleset: i32) -> Result<(), i32> {
    let told = |error: rustix::io::Errno| error.raw_os_error();
    rustix::thread::set_no_new_privs(true).map_err(told)?;
    let left = CapabilitySet::from_bits_retain(capabilities);
    let had = rustix::thread::capabilities(None).map_err(told)?;
    if had.effective.contains(CapabilitySet::SETPCAP) {
        for bit in 0..u64::BITS {
            let one = CapabilitySet::from_bits_retain(1 << bit);
            // An error means that this kernel has no more of them.
            if !left.contains(one) && rustix::thread::remove_capability_from_bounding_set(one).is_err() {
                break;
            }
        }
    }
    rustix::thread::clear_ambient_capability_set().map_err(told)?;
    let kept = CapabilitySets {
        effective: had.effective & left,
        permitted: had.permitted & left,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, kept).map_err(told)?;
    if ruleset >= 0 {
        // SAFETY: no pointers; the descriptor stays open until every thread is through.
        let entered = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0_u32) };
        if entered != 0 {
            return Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO));
        }
    }
    Ok(())
}
