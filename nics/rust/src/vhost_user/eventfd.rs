//! Kick, call and err: eventfds that a front-end made and gave us an end of.
//!
//! A descriptor from the outside is not necessarily what it should be. A pipe or a socket that
//! nobody reads would stop us at a write, a file would take any time it wants. So it must be an
//! eventfd, and is set not to block. A front-end that sets it to block again and fills it has us wait
//! once, and not for long (`patience.rs`); it is not interrupted any more.
//!
//! A kick is never read: a look at what was changed is all that it is for, and epoll tells of each
//! (edge-triggered), whatever the counter says.

use super::patience;
use crate::context::Context;
use crate::socket::closing::Foreign;
use parking_lot::Mutex;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How the front-ends of one door have behaved.
#[derive(Debug, Default)]
pub struct Manners {
    /// One of them had us wait: none is signalled any more.
    rude: AtomicBool,
    /// Where that is told, and of whom.
    teller: Mutex<Option<(Context, String)>>,
}

impl Manners {
    /// The door was attached, or detached: all is forgiven.
    pub fn begin(&self, teller: Option<(Context, String)>) {
        self.rude.store(false, Ordering::Relaxed);
        *self.teller.lock() = teller;
    }

    #[cold]
    fn waited(&self) {
        self.rude.store(true, Ordering::Relaxed);
        if let Some((cx, door)) = &*self.teller.lock() {
            cx.log(format!(
                "vhost-user {door}: not interrupted any more, its front-end had us wait at an eventfd that was set to block"
            ));
        }
    }
}

#[derive(Debug)]
pub struct EventFd {
    fd: OwnedFd,
    manners: Arc<Manners>,
}

impl EventFd {
    /// Take what a front-end sent, if it is an eventfd.
    pub fn adopt(fd: Foreign, manners: &Arc<Manners>) -> io::Result<EventFd> {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
        if link.as_os_str() != "anon_inode:[eventfd]" {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: no pointers.
        let failed = unsafe {
            let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL);
            flags < 0 || libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) < 0
        };
        if failed {
            return Err(io::Error::last_os_error());
        }
        let fd = fd.trust().ok_or(io::ErrorKind::InvalidInput)?;
        Ok(EventFd { fd, manners: manners.clone() })
    }

    /// Make it readable. One that is full is readable already.
    pub fn signal(&self) {
        if !self.manners.rude.load(Ordering::Relaxed) && !patience::raise(self.fd.as_fd()) {
            self.manners.waited();
        }
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::socket::closing::Lane;

    #[test]
    fn only_an_eventfd_is_taken() {
        let adopt = |fd: OwnedFd| EventFd::adopt(Foreign::new(fd, &Lane::default()), &Arc::default());
        assert!(adopt(crate::poller::eventfd().unwrap()).is_ok());
        let (read, write) = io::pipe().unwrap();
        assert!(adopt(read.into()).is_err());
        assert!(adopt(write.into()).is_err());
        assert!(adopt(std::fs::File::open("/dev/null").unwrap().into()).is_err());
    }
}
