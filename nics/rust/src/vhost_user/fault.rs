//! What happens when a guest takes its memory away while we look at it.
//!
//! Guest memory is a file that the front-end owns too. Unless it sealed the file against shrinking,
//! it may cut it off at any moment, and the next access to a page behind the end is not an error
//! code but SIGBUS, which kills the process: one guest would take all others with it. A check
//! before the access can't help, because the cut can come between the two. (A huge page that can't
//! be allocated ends the same way, with nobody at fault.)
//!
//! So every mapping of guest memory is noted in a table, and the signal's handler looks the address
//! up there. If it is in guest memory, the handler puts private zero pages over that whole mapping
//! and returns: the access is repeated and reads zeros. The mapping is marked as struck, and its
//! device, which looks at a counter once a burst, is then marked broken. Anything else goes to
//! whoever handled SIGBUS before.
//!
//! What is mapped there still may be much, and the last of a file that is more; to let go of that can take
//! seconds, for which everybody's frames would wait. So it is moved aside before, page tables and all, which
//! is a matter of microseconds, and unmapped with the rest (`mapping.rs`). Of hugetlbfs, or by a kernel before
//! 5.13, nothing can be moved so that its place stays taken meanwhile: there it goes at once.
//!
//! Others install handlers as well, Python's `faulthandler` among them, and the last one wins. So
//! whenever memory is mapped we look whether SIGBUS still comes to us first, and go in front of
//! whoever is there if not.
//!
//! The handler only uses atomics and `mmap`, which is a plain system call on Linux. It runs on the
//! thread that touched the memory, which is the one that owns the mapping, so the mapping can't be
//! removed meanwhile.

use parking_lot::Mutex;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// Mappings that can be watched at once.
const SLOTS: usize = 16_384;

struct Entry {
    /// The first address, and the one behind the last; `end == 0`: free.
    start: AtomicUsize,
    end: AtomicUsize,
    struck: AtomicBool,
    /// Where that which was mapped here was moved to, and as many bytes from there on.
    aside: AtomicUsize,
    aside_len: AtomicUsize,
}

static TABLE: [Entry; SLOTS] = [const {
    Entry {
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        struck: AtomicBool::new(false),
        aside: AtomicUsize::new(0),
        aside_len: AtomicUsize::new(0),
    }
}; SLOTS];
/// One behind the highest entry ever used.
static HIGH: AtomicUsize = AtomicUsize::new(0);
/// Indexes below `HIGH` that are free.
static FREE: Mutex<Vec<u16>> = Mutex::new(Vec::new());
/// Faults that were caught, in all.
static STRIKES: AtomicU64 = AtomicU64::new(0);
/// What handled SIGBUS before us.
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());
/// The thread that is handing a signal on to whoever came before us.
static HANDING_ON: AtomicI32 = AtomicI32::new(0);

/// Faults caught so far. When this has changed, look at [`Watch::struck`].
#[inline]
#[must_use]
pub fn strikes() -> u64 {
    STRIKES.load(Ordering::Relaxed)
}

/// A range of addresses whose faults are caught while this lives.
#[derive(Debug)]
pub struct Watch(u16);

impl Watch {
    /// Watch `start..start + len`, which must be a whole mapping.
    pub fn new(start: usize, len: usize) -> io::Result<Watch> {
        install();
        let index = {
            let mut free = FREE.lock();
            match free.pop() {
                Some(index) => index,
                None => {
                    let high = HIGH.load(Ordering::Relaxed);
                    if high >= SLOTS {
                        return Err(io::Error::other("too many mappings of guest memory"));
                    }
                    HIGH.store(high + 1, Ordering::Release);
                    high as u16
                }
            }
        };
        let entry = &TABLE[usize::from(index)];
        entry.struck.store(false, Ordering::Relaxed);
        entry.aside_len.store(0, Ordering::Relaxed);
        entry.start.store(start, Ordering::Relaxed);
        entry.end.store(start + len, Ordering::Release);
        Ok(Watch(index))
    }

    /// Whether a fault was caught here: the memory reads as zeros since.
    #[must_use]
    pub fn struck(&self) -> bool {
        TABLE[usize::from(self.0)].struck.load(Ordering::Acquire)
    }

    /// What is to be unmapped beside it: the first address, and bytes, of where it was moved to by a fault.
    #[must_use]
    pub fn aside(&self) -> Option<(usize, usize)> {
        let entry = &TABLE[usize::from(self.0)];
        let (at, len) = (entry.aside.load(Ordering::Relaxed), entry.aside_len.load(Ordering::Relaxed));
        (len > 0).then_some((at, len))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        TABLE[usize::from(self.0)].end.store(0, Ordering::Release);
        FREE.lock().push(self.0);
    }
}

/// See to it that SIGBUS comes to us first.
fn install() {
    static LOCK: Mutex<()> = Mutex::new(());
    let _one_at_a_time = LOCK.lock();
    let ours = action();
    let mut there = action();
    // SAFETY: only asks; the struct lives through the call.
    unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut there) };
    if there.sa_sigaction == ours.sa_sigaction {
        return;
    }
    // Kept for ever, because the handler may be reading it; it takes somebody else's new handler to come
    // here again.
    PREVIOUS.store(Box::leak(Box::new(there)), Ordering::Release);
    // SAFETY: the handler has the signature that SA_SIGINFO asks for and only does what a handler may.
    unsafe { libc::sigaction(libc::SIGBUS, &raw const ours, ptr::null_mut()) };
}

fn action() -> libc::sigaction {
    // SAFETY: sigaction is plain data, for which all zeros is a valid value (SIG_DFL, no flags).
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_sigbus;
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    action
}

extern "C" fn on_sigbus(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo; si_addr is meant for SIGBUS.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    // si_code <= 0 means that a process sent it.
    if code > 0 && repair(address) {
        return;
    }
    let previous = PREVIOUS.load(Ordering::Acquire);
    // SAFETY: PREVIOUS was filled in before this handler was installed and is never freed.
    let previous = unsafe { &*previous };
    // SAFETY: no pointers.
    let thread = unsafe { libc::gettid() };
    if HANDING_ON.swap(thread, Ordering::AcqRel) == thread {
        // Whoever came before us had us before it, and hands the signal back: nobody wants it.
        let mut default = action();
        default.sa_sigaction = libc::SIG_DFL;
        // SAFETY: the struct lives through the call. The repeated access then ends the process.
        unsafe { libc::sigaction(libc::SIGBUS, &raw const default, ptr::null_mut()) };
        return;
    }
    hand_on(previous, signal, info, context, code);
    HANDING_ON.store(0, Ordering::Release);
}

fn hand_on(
    previous: &libc::sigaction,
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
    code: libc::c_int,
) {
    match previous.sa_sigaction {
        libc::SIG_IGN => {}
        libc::SIG_DFL => {
            // SAFETY: back to the default action, by which the repeated access ends the process as
            // if we had never been here; a signal that was sent is sent again.
            unsafe {
                libc::sigaction(libc::SIGBUS, previous, ptr::null_mut());
                if code <= 0 {
                    libc::raise(signal);
                }
            }
        }
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: whoever installed it with SA_SIGINFO gave a function of this type.
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: whoever installed it without SA_SIGINFO gave a function of this type.
            let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}

/// A table of page tables is moved as one if it is for so many bytes, and goes to a multiple of as many from where it was.
const WHOLE: usize = 1 << 30;

/// Move what is mapped at `start` elsewhere: to somewhere in so many bytes from this address on. What is left are
/// addresses that are taken, with nothing there.
fn move_aside(start: usize, len: usize) -> Option<(usize, usize)> {
    let room = len.checked_add(WHOLE)?;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: at an address of the kernel's choice, which touches nothing that exists.
    let at = unsafe { libc::mmap(ptr::null_mut(), room, libc::PROT_NONE, flags, -1, 0) };
    if at == libc::MAP_FAILED {
        return None;
    }
    let to = at as usize + start.wrapping_sub(at as usize) % WHOLE;
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP;
    // SAFETY: from a mapping whose contents nobody relies on (see `repair`) to within what was reserved just
    // above: it begins less than WHOLE behind its start.
    let moved = unsafe { libc::mremap(start as *mut _, len, len, flags, to as *mut libc::c_void) };
    if moved == libc::MAP_FAILED {
        // SAFETY: reserved above, and nothing is there.
        unsafe { libc::munmap(at, room) };
        return None;
    }
    Some((at as usize, room))
}

/// Put zero pages over the watched mapping that `address` is in, if there is one.
fn repair(address: usize) -> bool {
    let high = HIGH.load(Ordering::Acquire);
    for entry in &TABLE[..high] {
        let (start, end) = (entry.start.load(Ordering::Relaxed), entry.end.load(Ordering::Acquire));
        if address < start || address >= end {
            continue;
        }
        if let Some((at, len)) = move_aside(start, end - start) {
            entry.aside.store(at, Ordering::Relaxed);
            entry.aside_len.store(len, Ordering::Relaxed);
        }
        let (prot, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
        );
        // SAFETY: start..end is a whole mapping that belongs to the device this thread is working
        // for; it stays mapped, only its contents change, and nobody relies on those.
        let mapped = unsafe { libc::mmap(start as *mut _, end - start, prot, flags, -1, 0) };
        if mapped == libc::MAP_FAILED {
            return false;
        }
        entry.struck.store(true, Ordering::Release);
        STRIKES.fetch_add(1, Ordering::Release);
        return true;
    }
    false
}
