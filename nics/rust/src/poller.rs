//! epoll, for the engine and its doors. Level-triggered: a door that is not drained is ready again; only what is watched for
//! each time that it gets ready is not.

use crate::context::split;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use switch::{Nanos, PortId};

/// What a descriptor is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    pub read: bool,
    pub write: bool,
    /// Told once each time that it gets ready, whether or not anybody took what was there (edge-triggered).
    pub each: bool,
    /// What comes are no frames: they are read while the port is held, too.
    pub requests: bool,
}

impl Interest {
    pub const NONE: Interest = Interest { read: false, write: false, each: false, requests: false };
    pub const READ: Interest = Interest { read: true, ..Interest::NONE };
    pub const WRITE: Interest = Interest { write: true, ..Interest::NONE };
    pub const BOTH: Interest = Interest { read: true, write: true, ..Interest::NONE };
    /// For a counter that nobody takes anything from.
    pub const EACH: Interest = Interest { read: true, each: true, ..Interest::NONE };
    pub const REQUESTS: Interest = Interest { read: true, requests: true, ..Interest::NONE };

    /// Without reading frames, if that is `held`.
    fn unless(self, held: bool) -> Interest {
        Interest { read: self.read && (!held || self.requests), ..self }
    }

    fn bits(self) -> u32 {
        let mut bits = 0;
        if self.read {
            bits |= libc::EPOLLIN | libc::EPOLLRDHUP;
        }
        if self.write {
            bits |= libc::EPOLLOUT;
        }
        if self.each {
            bits |= libc::EPOLLET;
        }
        bits as u32
    }
}

/// What a descriptor is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    pub read: bool,
    pub write: bool,
    /// The peer is gone or the descriptor is in error.
    pub hangup: bool,
}

/// One descriptor that is watched.
#[derive(Clone, Copy, Debug)]
struct Watched {
    fd: RawFd,
    sub: u16,
    interest: Interest,
}

/// What is watched for one port, and for each of the doors of a bond there.
#[derive(Debug, Default)]
struct Of {
    watched: Vec<(PortId, Watched)>,
    held: bool,
}

#[derive(Debug, Default)]
struct Inner {
    ports: BTreeMap<PortId, Of>,
    /// Whose each descriptor is: a door that closes one does not always say so before its number is another's.
    owners: HashMap<RawFd, PortId>,
}

/// An epoll instance whose entries belong to ports.
///
/// It remembers what is watched for each port, so that reading can be held off a port whose guest has
/// used up its rate: a level-triggered descriptor that nobody reads would keep the engine awake.
#[derive(Debug)]
pub struct Poller {
    fd: OwnedFd,
    inner: Mutex<Inner>,
}

/// Token of descriptors that belong to the engine itself.
pub const ENGINE: u64 = u64::MAX;

fn check(ret: libc::c_int) -> io::Result<libc::c_int> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

impl Poller {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked and owned here alone.
        let fd = unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        Ok(Poller { fd, inner: Mutex::default() })
    }

    /// Pollable itself: readable when a watched descriptor is ready.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    fn control(&self, op: libc::c_int, fd: RawFd, token: u64, interest: Interest) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest.bits(), u64: token };
        // SAFETY: the event lives through the call, and epoll keeps a copy, not the pointer.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), op, fd, &raw mut event) })?;
        Ok(())
    }

    /// Watch `fd` for `port`, which tells its descriptors apart by `sub`.
    pub fn add(&self, fd: impl AsFd, port: PortId, sub: u16, interest: Interest) -> io::Result<()> {
        self.watch(libc::EPOLL_CTL_ADD, fd.as_fd().as_raw_fd(), port, sub, interest)
    }

    /// Watch it for something else.
    pub fn modify(&self, fd: impl AsFd, port: PortId, sub: u16, interest: Interest) -> io::Result<()> {
        self.watch(libc::EPOLL_CTL_MOD, fd.as_fd().as_raw_fd(), port, sub, interest)
    }

    fn watch(
        &self,
        op: libc::c_int,
        fd: RawFd,
        port: PortId,
        sub: u16,
        interest: Interest,
    ) -> io::Result<()> {
        let mut inner = self.inner.lock();
        if op == libc::EPOLL_CTL_ADD {
            // Whoever had a descriptor of this number has closed it.
            inner.forget(fd);
        }
        let whole = split(port).0;
        let of = inner.ports.entry(whole).or_default();
        self.control(op, fd, token(port, sub), interest.unless(of.held))?;
        let new = (port, Watched { fd, sub, interest });
        match of.watched.iter_mut().find(|(_, watched)| watched.fd == fd) {
            Some(watched) => *watched = new,
            None => of.watched.push(new),
        }
        inner.owners.insert(fd, whole);
        Ok(())
    }

    /// Watch it no more. A descriptor that is not watched is fine.
    pub fn remove(&self, fd: impl AsFd) {
        let fd = fd.as_fd().as_raw_fd();
        self.inner.lock().forget(fd);
        // An error means that it is gone already, which is what was wanted.
        let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0, Interest::NONE);
    }

    /// Leave a watched descriptor out of epoll while it is `resting`, because its door looks itself: with
    /// each frame that comes the sender takes epoll's locks, only to find that it is known already.
    pub fn rest(&self, fd: impl AsFd, port: PortId, resting: bool) -> io::Result<()> {
        let fd = fd.as_fd().as_raw_fd();
        let inner = self.inner.lock();
        let Some(of) = inner.ports.get(&split(port).0) else { return Ok(()) };
        let found = of.watched.iter().find(|(_, watched)| watched.fd == fd);
        let Some((_, Watched { sub, interest, .. })) = found else { return Ok(()) };
        let op = if resting { libc::EPOLL_CTL_DEL } else { libc::EPOLL_CTL_ADD };
        self.control(op, fd, token(port, *sub), interest.unless(of.held))
    }

    /// Look at no frames that come in for `port` until it is no longer `held`. Writing, hangups and requests
    /// are told of as before: a VMM may do nothing else while it waits for an answer.
    pub fn hold(&self, port: PortId, held: bool) {
        let mut inner = self.inner.lock();
        let of = inner.ports.entry(split(port).0).or_default();
        if of.held == held {
            return;
        }
        of.held = held;
        for (number, watched) in &of.watched {
            // An error means that the descriptor was closed, or rests; then there is nothing to look at.
            let interest = watched.interest.unless(held);
            let _ = self.control(libc::EPOLL_CTL_MOD, watched.fd, token(*number, watched.sub), interest);
        }
    }

    /// The port is gone, and what was watched for it.
    pub fn forget(&self, port: PortId) {
        let mut inner = self.inner.lock();
        if let Some(of) = inner.ports.remove(&port) {
            for (_, watched) in of.watched {
                inner.owners.remove(&watched.fd);
            }
        }
    }

    /// Watch a descriptor of the engine's own, for reading.
    pub fn add_engine(&self, fd: RawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, ENGINE, Interest::READ)
    }

    /// Wait until something is ready, at most `timeout` (`None`: for ever, `Some(0)`: just look), and
    /// tell `each(port, sub, readiness)` in the kernel's order.
    pub fn wait(
        &self,
        timeout: Option<Nanos>,
        mut each: impl FnMut(PortId, u16, Readiness),
    ) -> io::Result<usize> {
        // Not zeroed first: that takes a tenth of what looking takes.
        let mut events = [const { MaybeUninit::uninit() }; 256];
        let events = self.pwait(&mut events, timeout)?;
        for event in events {
            let (bits, token) = (event.events, event.u64);
            if token == ENGINE {
                continue;
            }
            let readiness = Readiness {
                read: bits & (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0,
                write: bits & libc::EPOLLOUT as u32 != 0,
                hangup: bits & (libc::EPOLLHUP | libc::EPOLLRDHUP | libc::EPOLLERR) as u32 != 0,
            };
            each((token >> 16) as PortId, token as u16, readiness);
        }
        Ok(events.len())
    }

    /// Sleep until something is ready or `timeout` has passed. Whether something is; it stays so, and nothing is told of it.
    pub fn sleep(&self, timeout: Option<Nanos>) -> io::Result<bool> {
        let mut ours = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let spec = timeout.map(timespec);
        let spec = spec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: both pointers live through the call, and there is one descriptor as given.
        match check(unsafe { libc::ppoll(&raw mut ours, 1, spec, std::ptr::null()) }) {
            Ok(ready) => Ok(ready > 0),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn pwait<'e>(
        &self,
        events: &'e mut [MaybeUninit<libc::epoll_event>],
        timeout: Option<Nanos>,
    ) -> io::Result<&'e [libc::epoll_event]> {
        let spec = timeout.map(timespec);
        let spec = spec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: both pointers live through the call, and the length given is the slice's.
        let n = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.fd.as_raw_fd(),
                events.as_mut_ptr(),
                events.len() as libc::c_int,
                spec,
                std::ptr::null::<libc::sigset_t>(),
                0,
            )
        };
        match check(n as libc::c_int) {
            // SAFETY: the kernel has written the first `n`, which are no more than there is room for.
            Ok(n) => Ok(unsafe { std::slice::from_raw_parts(events.as_ptr().cast(), n as usize) }),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(&[]),
            Err(e) => Err(e),
        }
    }
}

impl Inner {
    fn forget(&mut self, fd: RawFd) {
        if let Some(owner) = self.owners.remove(&fd)
            && let Some(of) = self.ports.get_mut(&owner)
        {
            of.watched.retain(|(_, watched)| watched.fd != fd);
        }
    }
}

fn timespec(time: Nanos) -> libc::timespec {
    libc::timespec {
        tv_sec: (time / 1_000_000_000) as libc::time_t,
        tv_nsec: (time % 1_000_000_000) as libc::c_long,
    }
}

fn token(port: PortId, sub: u16) -> u64 {
    u64::from(port) << 16 | u64::from(sub)
}

/// A counter that threads can be woken by.
pub fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the result is checked and owned by the caller alone.
    Ok(unsafe { OwnedFd::from_raw_fd(check(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?) })
}

/// Make an eventfd readable.
pub fn signal(fd: &OwnedFd) {
    let one = 1u64;
    // SAFETY: eight bytes of a local; a full counter (EAGAIN) is readable already.
    unsafe { libc::write(fd.as_raw_fd(), (&raw const one).cast(), 8) };
}

/// Make an eventfd unreadable again.
pub fn drain(fd: &OwnedFd) {
    let mut count = 0u64;
    // SAFETY: eight bytes of a local; EAGAIN means that it was drained already.
    unsafe { libc::read(fd.as_raw_fd(), (&raw mut count).cast(), 8) };
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_watched_for_each_time_is_told_once_a_time() {
        let (poller, fd) = (Poller::new().unwrap(), eventfd().unwrap());
        let told = || poller.wait(Some(0), |_, _, _| {}).unwrap();
        poller.add(&fd, 1, 0, Interest::EACH).unwrap();
        assert_eq!(told(), 0);
        signal(&fd);
        assert!(poller.sleep(Some(0)).unwrap());
        assert!(poller.sleep(Some(0)).unwrap(), "a sleep takes nothing away");
        assert_eq!((told(), told()), (1, 0));
        assert!(!poller.sleep(Some(0)).unwrap());
        signal(&fd);
        assert_eq!((told(), told()), (1, 0));
        poller.hold(1, true);
        signal(&fd);
        assert_eq!(told(), 0);
        poller.hold(1, false);
        assert_eq!((told(), told()), (1, 0), "what came meanwhile");
    }

    #[test]
    fn a_port_that_is_held_hears_requests_and_no_frames() {
        let (poller, frames, requests) = (Poller::new().unwrap(), eventfd().unwrap(), eventfd().unwrap());
        poller.add(&frames, 1, 0, Interest::READ).unwrap();
        poller.hold(1, true);
        poller.add(&requests, 1, 1, Interest::REQUESTS).unwrap();
        signal(&frames);
        signal(&requests);
        let mut told = vec![];
        poller.wait(Some(0), |_, sub, _| told.push(sub)).unwrap();
        assert_eq!(told, [1]);
    }
}
