//! The control socket: whole requests out of a byte stream, without ever waiting for one.
//!
//! A front-end may stop in the middle of a message, and the engine must not wait for the rest. So
//! what has come is kept, and a request is only seen when all of it is there. Never more is read
//! than belongs to the request at hand: descriptors travel beside the bytes they were sent with, and
//! reading on would mix two requests' descriptors. (This is why the messages are our own: the
//! `vhost` crate reads whole messages only, and takes half of one for an error.)

use super::protocol::{BODY_MAX, HEADER, Header, Malformed, Request};
use super::session::Fds;
use crate::socket::calls;
use crate::socket::closing::{Foreign, Lane};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Why a connection is over.
#[derive(Debug)]
pub enum Gone {
    /// The front-end closed it.
    Closed,
    Malformed(&'static str),
    Io(io::Error),
}

impl From<io::Error> for Gone {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            // With answers that it has not read, or on their way: it need not have done wrong to die then.
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Gone::Closed,
            _ => Gone::Io(e),
        }
    }
}

impl From<Malformed> for Gone {
    fn from(e: Malformed) -> Self {
        Gone::Malformed(e.0)
    }
}

/// One request as it came.
#[derive(Debug)]
pub struct Message {
    pub header: Header,
    pub request: Request,
    pub fds: Fds,
}

/// What has come of the requests on one connection.
#[derive(Debug)]
pub struct Messages {
    bytes: [u8; HEADER + BODY_MAX],
    have: usize,
    header: Option<Header>,
    fds: Fds,
    /// One that was put back.
    back: Option<Message>,
    /// Where descriptors go that nobody wants.
    lane: Lane,
}

impl Messages {
    #[must_use]
    pub fn new(lane: Lane) -> Self {
        Messages { bytes: [0; HEADER + BODY_MAX], have: 0, header: None, fds: Fds::new(), back: None, lane }
    }

    /// The next request, if all of it has come.
    pub fn receive(&mut self, socket: impl AsFd) -> Result<Option<Message>, Gone> {
        if let Some(message) = self.back.take() {
            return Ok(Some(message));
        }
        loop {
            let want = match &self.header {
                None => HEADER,
                Some(header) => HEADER + header.size,
            };
            if self.have < want {
                match self.read(&socket, want) {
                    Ok(()) => continue,
                    Err(Gone::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                    Err(Gone::Io(e)) if e.kind() == io::ErrorKind::Interrupted => continue,
                    Err(gone) => return Err(gone),
                }
            }
            let Some(header) = self.header else {
                let header: &[u8; HEADER] =
                    self.bytes.first_chunk().ok_or(Gone::Malformed("a header that is too short"))?;
                self.header = Some(Header::parse(header)?);
                continue;
            };
            let request = Request::parse(header.request, &self.bytes[HEADER..want])?;
            self.have = 0;
            self.header = None;
            return Ok(Some(Message { header, request, fds: mem::take(&mut self.fds) }));
        }
    }

    /// It is not its time yet: it is the next one again.
    pub fn put_back(&mut self, message: Message) {
        self.back = Some(message);
    }

    /// Read some bytes, up to `want` in all, and the descriptors beside them.
    fn read(&mut self, socket: impl AsFd, want: usize) -> Result<(), Gone> {
        #[repr(align(8))]
        struct Control([u8; CONTROL]);
        let mut control = Control([0; CONTROL]);
        let into = &mut self.bytes[self.have..want];
        let mut iov = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
        // SAFETY: plain data, for which zeros are a valid value.
        let mut msg: libc::msghdr = unsafe { mem::zeroed() };
        msg.msg_iov = &raw mut iov;
        msg.msg_iovlen = 1;
        msg.msg_control = control.0.as_mut_ptr().cast();
        msg.msg_controllen = control.0.len();
        let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
        // SAFETY: all that msg points to lives through the call, with the lengths given.
        let n = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut msg, flags) };
        if n < 0 {
            return Err(io::Error::last_os_error().into());
        }
        let mut surplus = msg.msg_flags & libc::MSG_CTRUNC != 0;
        // SAFETY: msg was filled by recvmsg; CMSG_FIRSTHDR stays within msg_controllen.
        let mut cmsg = unsafe { libc::CMSG_FIRSTHDR(&raw const msg) };
        while !cmsg.is_null() {
            // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give headers that lie whole in the buffer, and the
            // kernel has filled in cmsg_len to match.
            unsafe {
                if (*cmsg).cmsg_level == libc::SOL_SOCKET && (*cmsg).cmsg_type == libc::SCM_RIGHTS {
                    let bytes = (*cmsg).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                    let data = libc::CMSG_DATA(cmsg).cast::<libc::c_int>();
                    for i in 0..bytes / mem::size_of::<libc::c_int>() {
                        // Each is ours now and must be owned, whatever becomes of the message.
                        let fd = OwnedFd::from_raw_fd(data.add(i).read_unaligned());
                        surplus |= self.fds.try_push(Foreign::new(fd, &self.lane)).is_err();
                    }
                }
                cmsg = libc::CMSG_NXTHDR(&raw const msg, cmsg);
            }
        }
        if n == 0 {
            return Err(Gone::Closed);
        }
        self.have += n as usize;
        if surplus { Err(Gone::Malformed("more descriptors than any message has")) } else { Ok(()) }
    }
}

/// Send an answer, whole. A front-end that doesn't read its answers is gone.
pub fn send(socket: impl AsFd, bytes: &[u8], fd: Option<&OwnedFd>) -> Result<(), Gone> {
    let fd = fd.map(AsRawFd::as_raw_fd);
    match calls::send_with(socket, bytes, fd.as_slice()) {
        Ok(n) if n == bytes.len() => Ok(()),
        Ok(_) => Err(Gone::Malformed("answers that it does not read")),
        Err(e) => Err(e.into()),
    }
}

/// As many descriptors as the kernel sends at once (253), with their header: those that had no room it would close at
/// once, on our thread (see `closing.rs`).
const CONTROL: usize = 1024 + 16;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    struct Peer(Messages, UnixStream);

    impl Peer {
        fn receive(&mut self) -> Result<Option<Message>, Gone> {
            self.0.receive(&self.1)
        }
    }

    fn pair() -> (Peer, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Peer(Messages::new(Lane::default()), ours), theirs)
    }

    fn message(request: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![];
        for word in [request, 1, body.len() as u32] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(body);
        bytes
    }

    #[test]
    fn requests_come_out_whole_however_they_come_in() {
        let (mut peer, mut front) = pair();
        let mut stream = message(1, &[]);
        stream.extend(message(2, &7u64.to_ne_bytes()));
        stream.extend(message(3, &[]));
        let mut got = vec![];
        for byte in stream {
            assert!(peer.receive().unwrap().is_none());
            front.write_all(&[byte]).unwrap();
            while let Some(message) = peer.receive().unwrap() {
                got.push(message.request);
            }
        }
        assert_eq!(got, [Request::GetFeatures, Request::SetFeatures(7), Request::SetOwner]);
        drop(front);
        assert!(matches!(peer.receive(), Err(Gone::Closed)));
    }

    #[test]
    fn a_body_too_long_or_too_short_ends_the_connection() {
        for bad in [message(2, &[0; 7]), message(2, &[0; BODY_MAX + 1])] {
            let (mut peer, mut front) = pair();
            front.write_all(&bad).unwrap();
            assert!(matches!(peer.receive(), Err(Gone::Malformed(_))));
        }
    }

    #[test]
    fn an_answer_that_nobody_reads_is_the_end() {
        let (peer, _front) = pair();
        let end = (0..100_000).find_map(|_| send(&peer.1, &[0; 64], None).err());
        assert!(end.is_some());
    }
}
