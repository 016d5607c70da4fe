//! The thread driver: a native thread that turns the engine, polls while there is traffic, and
//! sleeps when there is none. It never calls Python and never holds the interpreter lock.
//!
//! The engine sits in a fair mutex that the thread gives up between turns, so a command from
//! upstairs waits for one turn at most. While it sleeps the thread holds nothing: a command that
//! gives it work wakes it through the engine's waker.

use super::{Engine, Next};
use parking_lot::{Mutex, MutexGuard};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use switch::Nanos;

/// What the thread does when there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// Look on for a little while after the last frame, then sleep.
    Adaptive,
    /// Never sleep: one core for the lowest latency.
    Busy,
    /// Sleep at once.
    Sleep,
}

/// How long an adaptive thread looks on after the last frame. About what waking up costs, several
/// times over; a guest that sends more often than this never waits for a wake.
const SPIN: Nanos = 50_000;

/// A thread that may look on wakes so much before a time that it was asked for, and waits for it awake: what
/// a link delays shall not come late by what it takes to wake up. In a virtual machine that is some 50 us as a
/// rule, because an idle core has been given back to the host, and up to 200 us in one case of a hundred.
const EARLY: Nanos = 150_000;

/// Turns in which nothing came that go by one look at the clock: it takes as long as they do, and meanwhile a frame waits.
/// Together they take less than half a microsecond.
const CLOCK: u32 = 8;

/// A running thread. Stopped and joined when dropped.
pub struct Driver {
    stop: Arc<AtomicBool>,
    engine: Arc<Mutex<Engine>>,
    thread: Option<JoinHandle<()>>,
}

impl Driver {
    /// Start turning `engine`, on `cpu` if one is given.
    pub fn start(engine: Arc<Mutex<Engine>>, poll: Poll, cpu: Option<usize>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        engine.lock().set_spin(match poll {
            Poll::Adaptive => SPIN,
            // Guests are never asked for kicks, so that they save theirs, too.
            Poll::Busy => Nanos::MAX,
            Poll::Sleep => 0,
        });
        let (flag, shared) = (stop.clone(), engine.clone());
        let thread = std::thread::Builder::new().name("vnet-engine".into()).spawn(move || {
            if let Some(cpu) = cpu
                && let Err(e) = nics::clock::pin(cpu)
            {
                let line = format!("the engine's thread can't be bound to CPU {cpu}: {e}");
                shared.lock().events().log(line);
            }
            // Where the kernel does not know one of these, the thread is woken as any other.
            let _ = nics::clock::run_soon();
            let _ = nics::clock::wake_exactly();
            run(&shared, poll, &flag);
        })?;
        Ok(Driver { stop, engine, thread: Some(thread) })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let waker = self.engine.lock().waker().clone();
        waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic in there was reported on standard error; there is nothing to add to it.
            let _ = thread.join();
        }
        self.engine.lock().set_spin(0);
    }
}

fn run(engine: &Mutex<Engine>, poll: Poll, stop: &AtomicBool) {
    let mut guard = engine.lock();
    let poller = guard.poller().clone();
    let (mut now, mut old) = (0, CLOCK);
    while !stop.load(Ordering::Acquire) {
        if old >= CLOCK {
            (now, old) = (nics::clock::monotonic(), 0);
        }
        let next = guard.turn(now);
        let worked = guard.worked();
        match next {
            Next::Again => {
                old = if worked == now { CLOCK } else { old + 1 };
                MutexGuard::bump(&mut guard);
            }
            Next::Wait(deadline) => {
                old = CLOCK;
                let spin = match poll {
                    Poll::Busy => true,
                    Poll::Adaptive => now.saturating_sub(worked) < SPIN,
                    Poll::Sleep => false,
                };
                if spin {
                    MutexGuard::bump(&mut guard);
                    std::hint::spin_loop();
                    continue;
                }
                let early = if poll == Poll::Sleep || !guard.delays() { 0 } else { EARLY };
                let timeout =
                    deadline.map(|at| at.saturating_sub(nics::clock::monotonic()).saturating_sub(early));
                if timeout == Some(0) {
                    MutexGuard::bump(&mut guard);
                    std::hint::spin_loop();
                    continue;
                }
                MutexGuard::unlocked(&mut guard, || {
                    // The turn that follows looks again; here it only matters to have slept. An
                    // error could only be a bad descriptor or pointer, which are ours and valid.
                    let _ = poller.sleep(timeout);
                });
            }
        }
    }
}
