//! Descriptors that came from outside, and how they are closed: not by us.
//!
//! Whoever closes a file last may have to wait for it. A TCP socket lingers for as long as its sender has asked for, a
//! file on FUSE is flushed by its daemon, a unix socket takes all that waits in it along; and a peer that closes its
//! own end first makes ours the last. So what it sent is closed by a thread that nobody waits for, whatever it is, and so
//! are the unix sockets that it may have sent something to.
//!
//! Each door has a lane of its own: a file that takes a day to close is followed by what came through the same door, and
//! by nobody else's. Where much is in it, the door hangs up and takes no other connection (`connection.rs`), so that its
//! peers have so many of the process's descriptors and no more.
//!
//! What is as slow to let go of for other reasons (a guest's memory) has lanes of its own.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// What came through one door and is still to be closed.
#[derive(Debug)]
pub struct Lane<T = OwnedFd>(Arc<Mutex<Waiting<T>>>);

#[derive(Debug)]
struct Waiting<T> {
    fds: VecDeque<T>,
    /// A thread is at it, and holds one that is not among them any more.
    busy: bool,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Lane(Arc::new(Mutex::new(Waiting { fds: VecDeque::new(), busy: false })))
    }
}

impl<T> Clone for Lane<T> {
    fn clone(&self) -> Self {
        Lane(self.0.clone())
    }
}

impl<T: Send + 'static> Lane<T> {
    /// So many are in it only if one of them takes long, however late its thread gets a CPU.
    const FULL: usize = 256;

    /// Have `fd` closed, some time.
    pub fn close(&self, fd: T) {
        let mut waiting = self.0.lock();
        waiting.fds.push_back(fd);
        if std::mem::replace(&mut waiting.busy, true) {
            return;
        }
        drop(waiting);
        let lane = self.clone();
        // Without a thread (the machine has no room for one) it is closed here after all.
        if std::thread::Builder::new().name("vnet-close".into()).spawn(move || lane.work()).is_err() {
            self.work();
        }
    }

    /// Close all there is.
    pub(crate) fn work(&self) {
        while let Some(fd) = self.next() {
            drop(fd);
        }
    }

    fn next(&self) -> Option<T> {
        let mut waiting = self.0.lock();
        let next = waiting.fds.pop_front();
        waiting.busy = next.is_some();
        next
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.0.lock().busy
    }

    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.lock().fds.len() >= Self::FULL
    }

    /// Have a thread be late, until `work` is called in its place.
    #[cfg(test)]
    pub fn hold(&self) {
        self.0.lock().busy = true;
    }

    /// Wait until all of it is closed, which a thread does.
    #[cfg(any(test, fuzzing))]
    pub fn until_empty(&self) {
        let end = std::time::Instant::now() + crate::testkit::PATIENCE;
        while !self.is_empty() {
            assert!(std::time::Instant::now() < end, "something is not closed");
            std::thread::yield_now();
        }
    }
}

/// A descriptor that somebody else chose.
#[derive(Debug)]
pub struct Foreign {
    fd: Option<OwnedFd>,
    lane: Lane,
}

impl Foreign {
    /// One that came through the door with this lane.
    #[must_use]
    pub fn new(fd: OwnedFd, lane: &Lane) -> Foreign {
        Foreign { fd: Some(fd), lane: lane.clone() }
    }

    /// It was found to be harmless: closed where it is dropped.
    #[must_use]
    pub fn trust(mut self) -> Option<OwnedFd> {
        self.fd.take()
    }
}

impl AsRawFd for Foreign {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_ref().map_or(-1, OwnedFd::as_raw_fd)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.take() {
            self.lane.close(fd);
        }
    }
}
