//! Writing to a descriptor that may be a file, a FIFO or a socket whose reader is slow or gone,
//! without being stuck in `write`.
//!
//! Nothing is set to non-blocking: the descriptor may be shared with others (standard output), and
//! the flag would be theirs too. Instead `poll` says when there is room. A pipe is then free for at
//! least one page, so no more than `PIPE_BUF` bytes are written at once; a regular file always is.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// See the top of this file.
#[derive(Debug)]
pub struct Output {
    file: File,
    regular: bool,
}

impl Output {
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let file = File::from(fd);
        let regular = file.metadata()?.is_file();
        Ok(Output { file, regular })
    }

    /// Whether it is a regular file, to which writing needs no reader.
    #[must_use]
    pub fn is_regular(&self) -> bool {
        self.regular
    }

    /// Write some of `bytes`; how many. None when there was no room before `interrupt` became
    /// readable or `patience` ended.
    pub fn write(
        &mut self,
        bytes: &[u8],
        interrupt: Option<&OwnedFd>,
        patience: Option<Duration>,
    ) -> io::Result<Option<usize>> {
        if bytes.is_empty() {
            return Ok(Some(0));
        }
        let bytes = if self.regular {
            bytes
        } else if self.room(interrupt, patience)? {
            &bytes[..bytes.len().min(libc::PIPE_BUF)]
        } else {
            return Ok(None);
        };
        match self.file.write(bytes) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => Ok(Some(n)),
            Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {
                Ok(Some(0))
            }
            Err(e) => Err(e),
        }
    }

    /// Wait for room (or an error, which the next write will report).
    fn room(&self, interrupt: Option<&OwnedFd>, patience: Option<Duration>) -> io::Result<bool> {
        let entry = |fd, events| libc::pollfd { fd, events, revents: 0 };
        let interrupt = interrupt.map_or(-1, AsRawFd::as_raw_fd);
        let mut fds = [entry(self.file.as_raw_fd(), libc::POLLOUT), entry(interrupt, libc::POLLIN)];
        let timeout = patience.map_or(-1, |p| i32::try_from(p.as_millis()).unwrap_or(i32::MAX));
        // SAFETY: the array lives through the call and its length is the one given; a negative
        // descriptor is passed over.
        let n = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) };
        if n < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(false) } else { Err(error) };
        }
        Ok(fds[0].revents != 0)
    }
}

/// A descriptor of our own for the same open file as `fd`, which stays the caller's.
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; what is no descriptor is refused by the kernel.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just made, and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_that_nobody_reads_does_not_hang_the_writer() {
        let (reader, writer) = io::pipe().unwrap();
        let mut output = Output::new(writer.into()).unwrap();
        assert!(!output.is_regular());
        let mut total = 0;
        while let Some(n) = output.write(&[7; 100_000], None, Some(Duration::ZERO)).unwrap() {
            total += n;
        }
        assert!(total >= 4096);
        let stop = crate::poller::eventfd().unwrap();
        crate::poller::signal(&stop);
        assert_eq!(output.write(&[7], Some(&stop), None).unwrap(), None);
        drop(reader);
        let error = output.write(&[7], None, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut output = Output::new(full.into()).unwrap();
        let error = output.write(&[7], None, Some(Duration::from_secs(5))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
