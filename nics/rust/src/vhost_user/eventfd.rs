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

    /// Whether one look makes it unreadable, so that it can be watched. One that was made as a semaphore (EFD_SEMAPHORE) goes
    /// down by one only and would be ready for ever. Nothing but a look tells: after two signals a semaphore still says 1. A
    /// look that finds nothing says that somebody else was quicker, and is repeated.
    pub fn is_counter(&self) -> bool {
        for _ in 0..8 {
            let two = 2u64;
            let mut count = 0u64;
            // SAFETY: eight bytes of a local each time. A counter that is full (EAGAIN) says more than 1 as well.
            let n = unsafe {
                libc::write(self.0.as_raw_fd(), (&raw const two).cast(), 8);
                libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), 8)
            };
            if n == 8 {
                return count > 1;
            }
        }
        false
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
    use std::os::fd::FromRawFd;

    #[test]
    fn a_semaphore_is_told_from_a_counter_whatever_it_holds() {
        for (start, semaphore) in
            [0, 1, u64::MAX - 2, u64::MAX - 1].into_iter().flat_map(|n| [(n, false), (n, true)])
        {
            let kind = if semaphore { libc::EFD_SEMAPHORE } else { 0 };
            // SAFETY: no pointers; the result is owned here alone.
            let fd = unsafe {
                OwnedFd::from_raw_fd(libc::eventfd(0, kind | libc::EFD_NONBLOCK | libc::EFD_CLOEXEC))
            };
            // SAFETY: eight bytes of a local.
            assert_eq!(unsafe { libc::write(fd.as_raw_fd(), (&raw const start).cast(), 8) }, 8);
            assert_eq!(EventFd(fd).is_counter(), !semaphore, "{start}");
        }
    }

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
