//! The system calls of the per-frame path: many bytes or many datagrams a call, never blocking.
//!
//! They take raw runs of bytes ([`Run`]), because payload may lie in guest memory, which must not be
//! borrowed as `&[u8]` (see `frame.rs`).

use crate::frame::Seg;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, RawFd};

/// Bytes to send, in the kernel's form (`struct iovec`). They are only ever read.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Run<'a> {
    raw: libc::iovec,
    life: PhantomData<&'a [u8]>,
}

impl<'a> From<&'a [u8]> for Run<'a> {
    #[inline]
    fn from(bytes: &'a [u8]) -> Self {
        Seg::from(bytes).into()
    }
}

impl<'a> From<Seg<'a>> for Run<'a> {
    #[inline]
    fn from(seg: Seg<'a>) -> Self {
        let raw = libc::iovec { iov_base: seg.as_ptr().cast_mut().cast(), iov_len: seg.len() };
        Run { raw, life: PhantomData }
    }
}

fn count(n: isize) -> io::Result<usize> {
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Receive into `room`; 0 is the end of the stream.
pub fn receive(socket: impl AsFd, room: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `room` is writable for its length, and the kernel writes no further.
    count(unsafe {
        libc::recv(
            socket.as_fd().as_raw_fd(),
            room.as_mut_ptr().cast(),
            room.len(),
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    })
}

/// Send `runs`, in order; how many bytes were taken. A broken pipe is an error, not a signal.
pub fn send(socket: impl AsFd, runs: &[Run<'_>]) -> io::Result<usize> {
    // SAFETY: all-zero is a valid msghdr: no name, no control data, no runs.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = runs.as_ptr().cast_mut().cast();
    message.msg_iovlen = runs.len();
    // SAFETY: Run is an iovec; each was made from bytes that live as long as `runs` borrows them,
    // and sendmsg only reads them.
    count(unsafe {
        libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    })
}

/// Send bytes to a connected unix socket, with descriptors beside them: 253 at most, or it is an error (EINVAL, as the
/// kernel has it). How many bytes were taken.
pub fn send_with(socket: impl AsFd, bytes: &[u8], fds: &[RawFd]) -> io::Result<usize> {
    const MOST: usize = 253;
    // Words, so that it is aligned as a header has to be: one, and the descriptors behind it.
    let mut control = [0u64; 2 + MOST.div_ceil(2)];
    if fds.len() > MOST {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut run = Run::from(bytes);
    // SAFETY: all-zero is a valid msghdr: no name, no control data, no runs.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut run.raw;
    message.msg_iovlen = 1;
    if !fds.is_empty() {
        let size = size_of_val(fds) as libc::c_uint;
        message.msg_control = control.as_mut_ptr().cast();
        // SAFETY: arithmetic only.
        message.msg_controllen = unsafe { libc::CMSG_SPACE(size) } as usize;
        // SAFETY: one header with as many descriptors as there is room for behind it (above), so the first header is
        // there and its data is theirs.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size) as usize;
            let data = libc::CMSG_DATA(header).cast::<RawFd>();
            for (i, fd) in fds.iter().enumerate() {
                data.add(i).write_unaligned(*fd);
            }
        }
    }
    // SAFETY: all that the message points to lives through the call, with the lengths given, and is only read.
    count(unsafe {
        libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    })
}

/// Whether the other side of a connection has closed it, though bytes may still wait here.
pub fn hung_up(socket: impl AsFd) -> bool {
    look(socket, libc::POLLRDHUP)
}

/// Whether an attempt to connect has come to an end, good or bad.
pub fn settled(socket: impl AsFd) -> bool {
    look(socket, libc::POLLOUT)
}

/// Whether the socket is ready in that way, hung up or in error at this moment.
fn look(socket: impl AsFd, events: libc::c_short) -> bool {
    let mut poll = libc::pollfd { fd: socket.as_fd().as_raw_fd(), events, revents: 0 };
    loop {
        // SAFETY: one pollfd that lives through the call, which does not wait.
        let n = unsafe { libc::poll(&raw mut poll, 1, 0) };
        // A signal that is pending ends it without an answer all the same.
        if n >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return n == 1 && poll.revents & (events | libc::POLLHUP | libc::POLLERR) != 0;
        }
    }
}

/// The user that connected a unix socket.
pub fn peer_uid(socket: impl AsFd) -> io::Result<u32> {
    get::<libc::ucred>(socket, libc::SOL_SOCKET, libc::SO_PEERCRED).map(|who| who.uid)
}

/// Whether a user may be a guest where no file says who may: our own, and root.
pub fn is_trusted(uid: u32) -> bool {
    // SAFETY: no pointers; it can't fail.
    uid == 0 || uid == unsafe { libc::geteuid() }
}

/// Forget where a datagram socket is connected to; it stays bound.
pub fn disconnect(socket: impl AsFd) -> io::Result<()> {
    // SAFETY: all-zero is a valid sockaddr; its family is AF_UNSPEC.
    let nobody: libc::sockaddr = unsafe { std::mem::zeroed() };
    let len = size_of::<libc::sockaddr>() as libc::socklen_t;
    // SAFETY: the address lives through the call and is `len` long.
    check(unsafe { libc::connect(socket.as_fd().as_raw_fd(), &raw const nobody, len) })
}

/// Give a unix socket an abstract name of the kernel's choice, so that it can be answered.
pub fn autobind(socket: impl AsFd) -> io::Result<()> {
    let family = libc::AF_UNIX as libc::sa_family_t;
    let len = size_of::<libc::sa_family_t>() as libc::socklen_t;
    // SAFETY: unix(7): an address of the family alone asks for a name; it lives through the call.
    check(unsafe { libc::bind(socket.as_fd().as_raw_fd(), (&raw const family).cast(), len) })
}

/// Make the socket's buffers `bytes` long each, or as long as we may.
pub fn buffers(socket: impl AsFd, bytes: libc::c_int) {
    // The first of each pair needs CAP_NET_ADMIN and knows no limit, the second is cut to
    // net.core.[rw]mem_max. Smaller buffers lose more of a burst, and that is all they do.
    for (force, plain) in [(libc::SO_SNDBUFFORCE, libc::SO_SNDBUF), (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF)] {
        if set(&socket, libc::SOL_SOCKET, force, bytes).is_err() {
            let _ = set(&socket, libc::SOL_SOCKET, plain, bytes);
        }
    }
}

/// Linux 6.16, include/uapi/asm-generic/socket.h; libc does not have it yet.
const SO_PASSRIGHTS: libc::c_int = 83;

/// Whether descriptors may be sent to a unix socket; if not, to try is the sender's error. Without it an older kernel closes
/// those that were sent when we receive what they came with, on our thread. What is accepted is as its listener is.
pub fn take_descriptors(socket: impl AsFd, taken: bool) {
    // An older kernel does not know the option.
    let _ = set(socket, libc::SOL_SOCKET, SO_PASSRIGHTS, libc::c_int::from(taken));
}

/// What a socket option may be: numbers, and structures of numbers.
///
/// # Safety
/// Any bytes are a value of it, zeros too.
pub(crate) unsafe trait Numbers: Copy {}

macro_rules! numbers {
    ($($kind:ident),+) => {
        $(
            // SAFETY: integers and nothing else, as the kernel's headers have them.
            unsafe impl Numbers for libc::$kind {}
        )+
    };
}
numbers!(c_int, c_uint, ucred, packet_mreq, tpacket_req, tpacket_stats);
numbers!(xdp_umem_reg, xdp_mmap_offsets, xdp_options, xdp_statistics);

/// Set a socket option.
pub(crate) fn set<T: Numbers>(
    socket: impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: T,
) -> io::Result<()> {
    // SAFETY: `value` lives through the call, and its size is given.
    check(unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    })
}

/// Ask for a socket option. What a kernel does not know of a structure is zero.
pub(crate) fn get<T: Numbers>(socket: impl AsFd, level: libc::c_int, name: libc::c_int) -> io::Result<T> {
    // SAFETY: zeros are a value of it.
    let mut value: T = unsafe { std::mem::zeroed() };
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` has the `len` bytes that the kernel may write, and whatever it writes is a value.
    let ret = unsafe {
        let fd = socket.as_fd().as_raw_fd();
        libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut len)
    };
    check(ret).map(|()| value)
}

fn check(ret: libc::c_int) -> io::Result<()> {
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::socket::{Connection, Descriptors, Role, claim};
    use crate::testkit::Folder;
    use socket2::Type;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    #[test]
    fn nobody_sends_descriptors_to_a_door_that_takes_none() {
        let folder = Folder::new();
        let (null, _) = UnixStream::pair().unwrap();
        let open =
            |name, descriptors| Connection::open(folder.endpoint(name), Role::Server, descriptors).unwrap();
        let (_taken, _refused) = (open("a.sock", Descriptors::Taken), open("b.sock", Descriptors::Refused));
        let (listener, _file) = claim::bind(&folder.endpoint("c.sock"), Type::STREAM).unwrap();
        let (_datagrams, _file) = claim::bind(&folder.endpoint("d.sock"), Type::DGRAM).unwrap();
        listener.listen(1).unwrap();
        let stream = |name| UnixStream::connect(folder.path(name)).unwrap();
        let fds = [null.as_raw_fd()];
        assert_eq!(send_with(stream("a.sock"), &[1], &fds).unwrap(), 1);
        if set(&null, libc::SOL_SOCKET, SO_PASSRIGHTS, 1).is_err() {
            // This kernel can't refuse them.
            return;
        }
        let refused =
            |n: io::Result<usize>| assert_eq!(n.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        // Not taken yet, and taken.
        refused(send_with(stream("b.sock"), &[1], &fds));
        let taken = stream("c.sock");
        let _ours = listener.accept().unwrap();
        refused(send_with(&taken, &[1], &fds));
        assert_eq!(send_with(&taken, &[1], &[]).unwrap(), 1);
        let sender = UnixDatagram::unbound().unwrap();
        sender.connect(folder.path("d.sock")).unwrap();
        refused(send_with(&sender, &[1], &fds));
    }
}
