//! The front-end: memory, rings, and the messages that hand them over.

use crate::options::Options;
use crate::ring::{Memory, Ring};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

const VERSION_1: u64 = 1 << 32;
const IN_ORDER: u64 = 1 << 35;
const PROTOCOL: u64 = 1 << 30;
const MRG_RXBUF: u64 = 1 << 15;
/// CSUM, GUEST_CSUM, and TSO over IPv4 and 6 both ways.
const OFFLOADS: u64 = 0b11 | 1 << 7 | 1 << 8 | 1 << 11 | 1 << 12;

pub const HEADER: usize = 12;

/// The memory of all guests; on huge pages if there are enough.
pub struct Shared {
    fd: OwnedFd,
    pub memory: Memory,
    top: usize,
    pub huge: bool,
}

impl Shared {
    pub fn new(len: usize) -> io::Result<Shared> {
        let len = len.next_multiple_of(2 << 20);
        match Shared::with(len, libc::MFD_HUGETLB) {
            Ok(fd) => Ok(fd),
            Err(_) => Shared::with(len, 0),
        }
    }

    fn with(len: usize, flags: libc::c_uint) -> io::Result<Shared> {
        // SAFETY: the name is a C string; the result is checked.
        let fd = unsafe { libc::memfd_create(c"vhost-load".as_ptr(), flags | libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made, and owned here alone.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: no pointers.
        if unsafe { libc::ftruncate(fd.as_raw_fd(), len as libc::off_t) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let (prot, how) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, how, fd.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = Memory { base: base.cast(), len };
        Ok(Shared { fd, memory, top: 0, huge: flags != 0 })
    }

    pub fn take(&mut self, len: usize, align: usize) -> usize {
        let at = self.top.next_multiple_of(align);
        self.top = at + len;
        assert!(self.top <= self.memory.len, "the memory was reckoned too small");
        at
    }
}

/// One guest. Rings: 0 receives, 1 sends.
pub struct Guest {
    sock: UnixStream,
    pub rings: [Ring; 2],
    pub in_order: bool,
    /// The other ends of what the switch was given: call and kick of each ring.
    events: Vec<OwnedFd>,
    pub kicks: u64,
}

impl Guest {
    pub fn connect(path: &Path, options: &Options, shared: &mut Shared) -> io::Result<Guest> {
        let sock = UnixStream::connect(path)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
        let mut ring = || {
            let (size, memory) = (options.ring, shared.memory);
            let desc = shared.take(16 * size, 4096);
            let avail = shared.take(6 + 2 * size, 4096);
            let used = shared.take(6 + 8 * size, 4096);
            let ring = Ring { memory, size, desc, avail, used, next: 0, seen: 0 };
            ring.hush();
            ring
        };
        let rings = [ring(), ring()];
        let mut guest = Guest { sock, rings, in_order: false, events: vec![], kicks: 0 };
        guest.tell(3, &[], None)?;
        let offered = guest.ask(1)?;
        guest.ask(15)?;
        guest.tell(16, &0u64.to_ne_bytes(), None)?;
        let mut wanted = VERSION_1 | PROTOCOL | MRG_RXBUF | IN_ORDER;
        if options.gso {
            wanted |= OFFLOADS;
        }
        guest.in_order = offered & IN_ORDER != 0;
        if options.gso && offered & OFFLOADS != OFFLOADS {
            return Err(io::Error::other("the switch offers no offloads"));
        }
        guest.tell(2, &(offered & wanted).to_ne_bytes(), None)?;
        let len = shared.memory.len as u64;
        let base = shared.memory.base as u64;
        let table: Vec<u8> = [1, base, len, base, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
        guest.tell(5, &table, Some(shared.fd.as_raw_fd()))?;
        Ok(guest)
    }

    /// Hand the rings over; the switch begins to look at them.
    pub fn start(&mut self) -> io::Result<()> {
        for index in 0..2u32 {
            let ring = self.rings[index as usize];
            let pair = |value: u32| [index.to_ne_bytes(), value.to_ne_bytes()].concat();
            self.tell(8, &pair(ring.size as u32), None)?;
            self.tell(10, &pair(0), None)?;
            let base = ring.memory.base as u64;
            let mut body = pair(0);
            for at in [ring.desc, ring.used, ring.avail] {
                body.extend((base + at as u64).to_ne_bytes());
            }
            body.extend([0; 8]);
            self.tell(9, &body, None)?;
            for request in [13, 12] {
                // SAFETY: no pointers; the result is checked.
                let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
                if fd < 0 {
                    return Err(io::Error::last_os_error());
                }
                // SAFETY: just made, and owned here alone.
                let fd = unsafe { OwnedFd::from_raw_fd(fd) };
                self.tell(request, &u64::from(index).to_ne_bytes(), Some(fd.as_raw_fd()))?;
                self.events.push(fd);
            }
        }
        self.enable(1)
    }

    /// Tell the switch of transmit buffers, if it wants to be told.
    #[inline(always)]
    pub fn kick(&mut self) {
        if self.rings[1].wants_kick() {
            let one = 1u64;
            self.kicks += 1;
            // SAFETY: eight bytes of a local. It fails when the counter is full, which is as good.
            unsafe { libc::write(self.events[3].as_raw_fd(), (&raw const one).cast(), 8) };
        }
    }

    fn enable(&mut self, on: u32) -> io::Result<()> {
        for index in 0..2u32 {
            self.tell(18, &[index.to_ne_bytes(), on.to_ne_bytes()].concat(), None)?;
        }
        // An answer means that all before it was done.
        self.ask(1).map(drop)
    }

    /// Take the rings back.
    pub fn stop(&mut self) -> io::Result<()> {
        self.enable(0)?;
        for index in 0..2u32 {
            self.tell(11, &[index.to_ne_bytes(), [0; 4]].concat(), None)?;
            self.answer()?;
        }
        Ok(())
    }

    fn tell(&mut self, request: u32, body: &[u8], fd: Option<RawFd>) -> io::Result<()> {
        let mut bytes =
            [request.to_ne_bytes(), 1u32.to_ne_bytes(), (body.len() as u32).to_ne_bytes()].concat();
        bytes.extend(body);
        let mut control = [0u64; 4];
        let mut iov = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        // SAFETY: plain data, for which zeros are a valid value.
        let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
        msg.msg_iov = &raw mut iov;
        msg.msg_iovlen = 1;
        if let Some(fd) = fd {
            msg.msg_control = control.as_mut_ptr().cast();
            // SAFETY: arithmetic, and one header with one descriptor in a buffer large enough for it.
            unsafe {
                msg.msg_controllen = libc::CMSG_SPACE(4) as usize;
                let cmsg = libc::CMSG_FIRSTHDR(&raw const msg);
                (*cmsg).cmsg_level = libc::SOL_SOCKET;
                (*cmsg).cmsg_type = libc::SCM_RIGHTS;
                (*cmsg).cmsg_len = libc::CMSG_LEN(4) as usize;
                libc::CMSG_DATA(cmsg).cast::<RawFd>().write_unaligned(fd);
            }
        }
        // SAFETY: all that msg points to lives through the call.
        let n = unsafe { libc::sendmsg(self.sock.as_raw_fd(), &raw const msg, libc::MSG_NOSIGNAL) };
        if n == bytes.len() as isize { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn ask(&mut self, request: u32) -> io::Result<u64> {
        self.tell(request, &[], None)?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 20];
        self.sock.read_exact(&mut bytes)?;
        let mut value = [0; 8];
        value.copy_from_slice(&bytes[12..]);
        Ok(u64::from_ne_bytes(value))
    }
}
