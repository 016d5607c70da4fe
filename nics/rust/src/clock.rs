//! The few things a native thread needs from the operating system besides its descriptors.

use std::io;
use switch::Nanos;

/// CLOCK_MONOTONIC.
#[must_use]
pub fn monotonic() -> Nanos {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a local; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as Nanos * 1_000_000_000 + time.tv_nsec as Nanos
}

/// CLOCK_REALTIME: nanoseconds since the Unix epoch.
#[must_use]
pub fn realtime() -> Nanos {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a local; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time) };
    time.tv_sec as Nanos * 1_000_000_000 + time.tv_nsec as Nanos
}

/// Bind the calling thread to one CPU.
pub fn pin(cpu: usize) -> io::Result<()> {
    // SAFETY: cpu_set_t is a plain bit set, for which all zeroes is the empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: cpu is within the set; the set lives through the call.
    let ret = unsafe {
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The slice that `run_soon` asks for, in nanoseconds.
const SLICE: u64 = 100_000;

/// How the calling thread is scheduled.
fn schedule() -> io::Result<libc::sched_attr> {
    // SAFETY: plain data, for which zeros are a valid value.
    let mut attr: libc::sched_attr = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::sched_attr>() as u32;
    // SAFETY: the struct lives through the call and is `size` bytes long.
    if unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(attr)
}

/// Ask the scheduler to let the calling thread run soon, and for a short while, rather than late and
/// long: of the slices that a fair thread may ask for, the shortest (100 us; Linux 6.12 and newer, older
/// ones ignore it). When it is woken, whoever runs on its CPU meanwhile with the usual slice of some
/// milliseconds gives way; its share of the CPU stays what it was. Needs no privilege. A thread that was
/// given another policy keeps it as it is.
pub fn run_soon() -> io::Result<()> {
    let mut attr = schedule()?;
    if attr.sched_policy != libc::SCHED_OTHER as u32 {
        return Ok(());
    }
    attr.sched_runtime = SLICE;
    // SAFETY: the struct lives through the call, which only reads it, and says how long it is.
    if unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Have the calling thread's sleeps end when they are to: without, the kernel lets each last up to 50 us longer,
/// so that it may wake for several at once. Needs no privilege, and costs nothing while nothing is slept for.
pub fn wake_exactly() -> io::Result<()> {
    // One nanosecond is the least; 0 would mean the default.
    let slack: libc::c_ulong = 1;
    // SAFETY: no pointers.
    match unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, slack) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_runs_soon_has_a_short_slice_and_is_otherwise_as_before() {
        std::thread::spawn(|| {
            let before = schedule().unwrap();
            run_soon().unwrap();
            let after = schedule().unwrap();
            assert_eq!((after.sched_policy, after.sched_nice), (before.sched_policy, before.sched_nice));
            // Older kernels tell 0.
            if before.sched_policy == libc::SCHED_OTHER as u32 && before.sched_runtime != 0 {
                assert_eq!(after.sched_runtime, SLICE);
            }
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_thread_that_wakes_exactly_has_no_slack() {
        std::thread::spawn(|| {
            wake_exactly().unwrap();
            // SAFETY: no pointers.
            assert_eq!(unsafe { libc::prctl(libc::PR_GET_TIMERSLACK) }, 1);
        })
        .join()
        .unwrap();
    }
}
