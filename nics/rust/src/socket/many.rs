//! Many datagrams in one system call, each way.

use super::calls::Run;
use crate::frame::{Arena, BURST};
use arrayvec::ArrayVec;
use socket2::SockAddr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

/// Runs of bytes in one call: a burst of frames in two pieces each, and some in more.
const RUNS: usize = 256;

/// Datagrams to send together, in order.
#[derive(Default)]
pub struct Outbox<'a> {
    runs: ArrayVec<Run<'a>, RUNS>,
    /// How many runs each datagram has.
    counts: ArrayVec<u16, BURST>,
}

impl<'a> Outbox<'a> {
    /// The most runs that a datagram can have.
    pub const RUNS: usize = RUNS;

    /// Add a datagram of `count` runs; false: no room for it in this call.
    #[must_use]
    pub fn push(&mut self, count: usize, runs: impl IntoIterator<Item = Run<'a>>) -> bool {
        if self.counts.is_full() || self.runs.remaining_capacity() < count {
            return false;
        }
        let before = self.runs.len();
        self.runs.extend(runs.into_iter().take(count));
        self.counts.push((self.runs.len() - before) as u16);
        true
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Send them, to `to` or to where the socket is connected. How many the kernel took; an error
    /// says why it did not take the first.
    pub fn send(&self, socket: impl AsFd, to: Option<&SockAddr>) -> io::Result<usize> {
        let mut headers = ArrayVec::<libc::mmsghdr, BURST>::new();
        let mut at = 0;
        for &count in &self.counts {
            // SAFETY: all-zero is a valid mmsghdr: no name, no control data, no runs.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            if let Some(to) = to {
                header.msg_hdr.msg_name = to.as_ptr().cast_mut().cast();
                header.msg_hdr.msg_namelen = to.len();
            }
            header.msg_hdr.msg_iov = self.runs[at..].as_ptr().cast_mut().cast();
            header.msg_hdr.msg_iovlen = usize::from(count);
            at += usize::from(count);
            headers.push(header);
        }
        // SAFETY: the headers point to runs (iovecs) of `self` and to `to`, which all live through
        // the call; the counts add up to the runs there are; sendmmsg only reads what they point to.
        let n = unsafe {
            libc::sendmmsg(
                socket.as_fd().as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        usize::try_from(n).map_err(|_| io::Error::last_os_error())
    }
}

/// A datagram that was received.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a, 'b> {
    pub bytes: &'a [u8],
    /// The sender's address as the kernel writes it; empty for a unix socket without one.
    pub from: &'b [u8],
    /// The user who sent it, as the kernel says; None where it was not asked to.
    pub user: Option<u32>,
    /// It was longer than [`Arena::SLOT`], and its end is lost.
    pub cut: bool,
}

/// Lengths of a datagram and of its sender's address.
struct Received {
    bytes: usize,
    from: usize,
    user: Option<u32>,
    cut: bool,
}

/// Room for what the kernel says of a sender (unix(7), SCM_CREDENTIALS), and for nothing else: descriptors
/// that somebody sends along find none and are closed.
type Vouch = [u64; 4];
const _: () = {
    let one = size_of::<libc::ucred>() as libc::c_uint;
    // SAFETY: arithmetic alone.
    let room = unsafe { libc::CMSG_SPACE(one) } as usize;
    assert!(room <= size_of::<Vouch>() && room + size_of::<libc::cmsghdr>() > size_of::<Vouch>());
};

/// Datagrams that were received together. Lives on the stack; nothing of it is initialised in vain.
pub struct Inbox {
    names: [MaybeUninit<libc::sockaddr_storage>; BURST],
    vouches: [MaybeUninit<Vouch>; BURST],
    received: ArrayVec<Received, BURST>,
}

impl Inbox {
    #[must_use]
    pub fn new() -> Self {
        Inbox {
            names: [const { MaybeUninit::uninit() }; BURST],
            vouches: [const { MaybeUninit::uninit() }; BURST],
            received: ArrayVec::new(),
        }
    }

    /// Receive up to `most` datagrams of a burst into `arena`, a slot each; how many. `vouched`: the socket
    /// has SO_PASSCRED, and each comes with its sender's user.
    pub fn receive(
        &mut self,
        socket: impl AsFd,
        arena: &mut Arena,
        most: usize,
        vouched: bool,
    ) -> io::Result<usize> {
        self.received.clear();
        let mut runs = ArrayVec::<libc::iovec, BURST>::new();
        for slot in arena.slots().take(most) {
            runs.push(libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() });
        }
        let mut headers = ArrayVec::<libc::mmsghdr, BURST>::new();
        for ((run, name), vouch) in runs.iter_mut().zip(&mut self.names).zip(&mut self.vouches) {
            // SAFETY: all-zero is a valid mmsghdr: no name, no control data, no runs.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_name = name.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = NAME as libc::socklen_t;
            header.msg_hdr.msg_iov = run;
            header.msg_hdr.msg_iovlen = 1;
            if vouched {
                header.msg_hdr.msg_control = vouch.as_mut_ptr().cast();
                header.msg_hdr.msg_controllen = size_of::<Vouch>();
            }
            headers.push(header);
        }
        // SAFETY: each header points to a name, to one run, which is a slot of the arena, and perhaps to a
        // vouch; all are writable for the lengths given, distinct, and live through the call.
        let n = unsafe { receive(socket, &mut headers)? };
        self.received.extend(headers[..n].iter().map(|header| Received {
            bytes: (header.msg_len as usize).min(Arena::SLOT),
            // A name that is longer than its room was cut to it.
            from: (header.msg_hdr.msg_namelen as usize).min(NAME),
            user: if vouched { user(&header.msg_hdr) } else { None },
            cut: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        }));
        Ok(n)
    }

    /// What the last `receive` put into `arena`, in order.
    pub fn datagrams<'a, 'b>(&'b self, arena: &'a Arena) -> impl Iterator<Item = Datagram<'a, 'b>> {
        self.received.iter().zip(&self.names).enumerate().map(|(i, (received, name))| Datagram {
            bytes: &arena.slot(i)[..received.bytes],
            // SAFETY: the kernel wrote that many bytes of the name.
            from: unsafe { std::slice::from_raw_parts(name.as_ptr().cast(), received.from) },
            user: received.user,
            cut: received.cut,
        })
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Inbox::new()
    }
}

/// The user that the kernel vouches for, in a header that it has just filled in.
fn user(header: &libc::msghdr) -> Option<u32> {
    // SAFETY: the header is as recvmmsg left it, its control data still there: what CMSG_FIRSTHDR gives lies in
    // it, or is null.
    let first = unsafe { libc::CMSG_FIRSTHDR(header).as_ref() }?;
    let one = size_of::<libc::ucred>() as libc::c_uint;
    // SAFETY: arithmetic alone.
    let whole = unsafe { libc::CMSG_LEN(one) } as usize;
    let right = first.cmsg_level == libc::SOL_SOCKET && first.cmsg_type == libc::SCM_CREDENTIALS;
    if !right || first.cmsg_len < whole {
        return None;
    }
    // SAFETY: it is as long as a ucred, as was just asked, and may lie at any address.
    Some(unsafe { libc::CMSG_DATA(first).cast::<libc::ucred>().read_unaligned() }.uid)
}

const NAME: usize = size_of::<libc::sockaddr_storage>();

/// # Safety
/// What the headers point to must be writable for the lengths they give, until this returns.
unsafe fn receive(socket: impl AsFd, headers: &mut [libc::mmsghdr]) -> io::Result<usize> {
    // SAFETY: as promised by the caller; the headers themselves are ours.
    let n = unsafe {
        libc::recvmmsg(
            socket.as_fd().as_raw_fd(),
            headers.as_mut_ptr(),
            headers.len() as libc::c_uint,
            libc::MSG_DONTWAIT,
            std::ptr::null_mut(),
        )
    };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Throw away up to a burst of datagrams; how many, and who sent the first.
pub fn discard(socket: impl AsFd) -> io::Result<(usize, Vec<u8>)> {
    let mut name = MaybeUninit::<libc::sockaddr_storage>::uninit();
    // SAFETY: all-zero is a valid mmsghdr; without a run every datagram is cut to nothing.
    let mut headers: [libc::mmsghdr; BURST] = unsafe { std::mem::zeroed() };
    headers[0].msg_hdr.msg_name = name.as_mut_ptr().cast();
    headers[0].msg_hdr.msg_namelen = NAME as libc::socklen_t;
    // SAFETY: the first header points to a name that is writable for the length given; there is no
    // other memory to write to.
    let n = unsafe { receive(socket, &mut headers)? };
    let length = if n == 0 { 0 } else { (headers[0].msg_hdr.msg_namelen as usize).min(NAME) };
    // SAFETY: the kernel wrote that many bytes of the name.
    let from = unsafe { std::slice::from_raw_parts(name.as_ptr().cast::<u8>(), length) };
    Ok((n, from.to_vec()))
}
