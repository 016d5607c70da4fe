//! Descriptors that came from outside, and how they are closed: not by us.
//!
//! Whoever closes a file last may have to wait for it. A TCP socket lingers for as long as its sender has asked for, a
//! file on FUSE is flushed by its daemon, a unix socket takes all that waits in it along; and a front-end that closes its
//! own end first makes ours the last. So what it sent is closed by a thread that nobody waits for, whatever it is. Memory
//! goes another way than all else, because its pages should come free though somebody's socket lingers. Both take as
//! many as there are: the process cannot have more than it may open.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, channel};

/// A descriptor that somebody else chose.
#[derive(Debug)]
pub struct Foreign(Option<OwnedFd>);

impl From<OwnedFd> for Foreign {
    fn from(fd: OwnedFd) -> Foreign {
        Foreign(Some(fd))
    }
}

impl AsRawFd for Foreign {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_ref().map_or(-1, OwnedFd::as_raw_fd)
    }
}

impl Foreign {
    /// It was found to be harmless: closed where it is dropped.
    #[must_use]
    pub fn trust(mut self) -> Option<OwnedFd> {
        self.0.take()
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        static MEMORY: LazyLock<Option<Sender<OwnedFd>>> = LazyLock::new(|| closer("vnet-close-mem"));
        static OTHERS: LazyLock<Option<Sender<OwnedFd>>> = LazyLock::new(|| closer("vnet-close"));
        let Some(fd) = self.0.take() else { return };
        let lane = if is_memory(fd.as_raw_fd()) { &MEMORY } else { &OTHERS };
        // Without a thread (the machine has no room for one) it is closed here after all.
        if let Some(lane) = &**lane {
            let _ = lane.send(fd);
        }
    }
}

/// A thread that closes what it is sent.
fn closer(name: &str) -> Option<Sender<OwnedFd>> {
    let (sender, fds) = channel();
    let close = move || fds.into_iter().for_each(drop);
    std::thread::Builder::new().name(name.into()).spawn(close).is_ok().then_some(sender)
}

/// Whether `fd` is memory (memfd, tmpfs, hugetlbfs): only those have seals, and to ask for them is to ask no file system.
#[must_use]
pub fn is_memory(fd: RawFd) -> bool {
    // SAFETY: no pointers.
    unsafe { libc::fcntl(fd, libc::F_GET_SEALS) >= 0 }
}
