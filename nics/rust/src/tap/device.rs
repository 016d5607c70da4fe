//! The kernel's side of a TAP: the ioctls of <linux/if_tun.h>, and one frame a system call.
//!
//! A TUN descriptor belongs to the network namespace it was *opened* in, and `TUNSETIFF` asks for
//! CAP_NET_ADMIN in the user namespace that owns that one. So whoever can open /dev/net/tun inside a
//! namespace may hand the descriptor to a process outside, and all that follows works there: for
//! root, and for the owner of an unprivileged user namespace alike.

use crate::TxFrame;
use crate::offload::Offload;
use arrayvec::ArrayVec;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Runs of memory that one frame is written from; a frame in more pieces is gathered first.
const PIECES: usize = 32;

/// `struct ifreq`, as far as `TUNSETIFF` and `TUNGETIFF` look at it.
#[repr(C)]
struct IfReq {
    name: [u8; libc::IFNAMSIZ],
    flags: i16,
    rest: [u8; 22],
}

impl IfReq {
    fn new(name: &str, flags: libc::c_int) -> io::Result<Self> {
        let mut req = IfReq { name: [0; libc::IFNAMSIZ], flags: flags as i16, rest: [0; 22] };
        // The last byte stays zero, as the kernel wants it.
        match req.name[..libc::IFNAMSIZ - 1].get_mut(..name.len()) {
            Some(room) => room.copy_from_slice(name.as_bytes()),
            None => return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG)),
        }
        Ok(req)
    }

    fn name(&self) -> String {
        let end = self.name.iter().position(|&b| b == 0).unwrap_or(self.name.len());
        String::from_utf8_lossy(&self.name[..end]).into_owned()
    }
}

fn check(ret: libc::c_int) -> io::Result<()> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// One queue of a TAP: an open TUN descriptor, non-blocking.
#[derive(Debug)]
pub(super) struct Queue(OwnedFd);

impl Queue {
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: no pointers.
        check(unsafe {
            let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL);
            libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK)
        })?;
        Ok(Queue(fd))
    }

    /// Become a queue of the TAP `name`, of which `%d` is replaced by a free number; returns the
    /// real name. With `create` it must not exist yet (EBUSY), else it may.
    pub fn claim(&self, name: &str, create: bool, multi_queue: bool) -> io::Result<String> {
        let mut flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        if create {
            flags |= libc::IFF_TUN_EXCL;
        }
        if multi_queue {
            flags |= libc::IFF_MULTI_QUEUE;
        }
        let mut req = IfReq::new(name, flags)?;
        // SAFETY: the request lives through the call, which reads and writes no more than an ifreq.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), libc::TUNSETIFF, &raw mut req) })?;
        Ok(req.name())
    }

    /// The name of the TAP that this is a queue of; EBADFD when it is none.
    pub fn interface(&self) -> io::Result<String> {
        let mut req = IfReq::new("", 0)?;
        // SAFETY: as above.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), libc::TUNGETIFF, &raw mut req) })?;
        if i32::from(req.flags) & libc::IFF_VNET_HDR == 0 {
            return Err(io::Error::other(format!("TAP {} was opened without IFF_VNET_HDR", req.name())));
        }
        Ok(req.name())
    }

    fn set(&self, request: libc::Ioctl, value: libc::c_int) -> io::Result<()> {
        // SAFETY: these requests read one int through the pointer.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), request, &raw const value) })
    }

    /// A little-endian vnet header of `len` bytes, on any host.
    pub fn set_header(&self, len: usize) -> io::Result<()> {
        self.set(libc::TUNSETVNETLE, 1)?;
        self.set(libc::TUNSETVNETHDRSZ, len as libc::c_int)
    }

    /// What the kernel may leave undone in frames that it gives to us (TUN_F_*).
    pub fn set_offload(&self, flags: libc::c_uint) -> io::Result<()> {
        // SAFETY: this request takes its value in place of the pointer.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(flags)) })
    }

    /// What the guest sees as "a cable is plugged in" (Linux 5.0).
    pub fn set_carrier(&self, up: bool) -> io::Result<()> {
        self.set(libc::TUNSETCARRIER, libc::c_int::from(up))
    }

    /// Read one frame with its header; longer ones than `into` would be cut.
    #[inline]
    pub fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        // Not by the C library's `read`, which in a process with threads asks before and behind each call
        // whether its thread is to be cancelled: a tenth of what a short frame costs.
        // SAFETY: the kernel writes at most into.len() bytes to it.
        let n = unsafe { libc::syscall(libc::SYS_read, self.0.as_raw_fd(), into.as_mut_ptr(), into.len()) };
        if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
    }

    /// Write one frame behind a header of `header` bytes. `gather` is memory for one that lies in
    /// too many pieces.
    #[inline]
    pub fn write(&self, tx: &TxFrame<'_>, header: usize, gather: &mut Vec<u8>) -> io::Result<()> {
        let mut front = [0; super::HEADER_MAX];
        front[..Offload::LEN].copy_from_slice(&tx.offload().to_bytes());
        let mut scratch = [0; crate::HEAD + 4];
        let mut iov = ArrayVec::<libc::iovec, PIECES>::new();
        let head = tx.head(&mut scratch);
        iov.push(piece(front.as_ptr(), header));
        iov.push(piece(head.as_ptr(), head.len()));
        for seg in tx.frame.body().filter(|seg| !seg.is_empty()) {
            // What another TAP's frame was read into lies in one piece, head and all. Told as two, the kernel
            // would split each copy into its pages at an odd byte of theirs.
            if let Some(last) = iov.last_mut()
                && last.iov_base.cast_const().cast::<u8>().wrapping_add(last.iov_len) == seg.as_ptr()
            {
                last.iov_len += seg.len();
                continue;
            }
            if iov.try_push(piece(seg.as_ptr(), seg.len())).is_err() {
                gather.resize(tx.len(), 0);
                tx.copy_to(gather);
                iov.truncate(1);
                iov.push(piece(gather.as_ptr(), gather.len()));
                break;
            }
        }
        // SAFETY: each piece is readable for the whole call: the header and the head are locals, the
        // body is the frame's for its lifetime, `gather` isn't touched. The kernel only reads, and
        // copies before it looks, so that a guest that rewrites its memory harms itself alone.
        // Not by the C library's `writev`, as above.
        let n = unsafe { libc::syscall(libc::SYS_writev, self.0.as_raw_fd(), iov.as_ptr(), iov.len()) };
        if n < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

fn piece(base: *const u8, len: usize) -> libc::iovec {
    libc::iovec { iov_base: base.cast_mut().cast(), iov_len: len }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
