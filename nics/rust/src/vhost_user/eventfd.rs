//! Kick, call and err: eventfds that a front-end made and gave us an end of.
//!
//! A descriptor from the outside is not necessarily what it should be. A pipe or a socket that
//! nobody reads would stop us at a write, a file would take any time it wants. So it must be an
//! eventfd, and is set not to block. (A front-end, not its guest, could set it to block again and
//! fill it; the one that runs a guest is trusted that far.)

use crate::socket::closing::Foreign;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// Take what a front-end sent, if it is an eventfd.
    pub fn adopt(fd: Foreign) -> io::Result<EventFd> {
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
        fd.trust().map(EventFd).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    /// Make it readable. One that is full is readable already.
    pub fn signal(&self) {
        crate::poller::signal(&self.0);
    }

    /// Make it unreadable.
    pub fn drain(&self) {
        crate::poller::drain(&self.0);
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::socket::closing::Lane;

    #[test]
    fn only_an_eventfd_is_taken() {
        let adopt = |fd: OwnedFd| EventFd::adopt(Foreign::new(fd, &Lane::default()));
        assert!(adopt(crate::poller::eventfd().unwrap()).is_ok());
        let (read, write) = io::pipe().unwrap();
        assert!(adopt(read.into()).is_err());
        assert!(adopt(write.into()).is_err());
        assert!(adopt(std::fs::File::open("/dev/null").unwrap().into()).is_err());
    }
}
