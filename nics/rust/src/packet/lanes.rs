//! The sockets that frames come in by, each with a ring of its own; the first one also sends.
//!
//! With several the kernel spreads what comes in over them by flow (PACKET_FANOUT_HASH), so a flow keeps its
//! order. We read them with one thread all the same: what it is good for are interfaces whose queues are
//! served by several CPUs, which then don't wait for the lock of one ring, and bursts that one ring has no
//! room for.
//!
//! A socket that shares with others can't be bound to another interface any more. So when there is another,
//! all of them are made anew (`inside.rs` says how, in another namespace).

use super::ring::{Ring, SLOTS, Slot, set};
use super::{RECEIVE_BUFFER, SEND_BUFFER, aside};
use crate::inside::Inside;
use crate::socket::calls;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The most sockets of one door.
pub const QUEUES_MAX: usize = 16;

/// How the first of several shares, and the others. Our own frames come back by none of them.
const SHARE: libc::c_uint = libc::PACKET_FANOUT_HASH | libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING;
const FOUND: libc::c_uint = SHARE | libc::PACKET_FANOUT_FLAG_UNIQUEID;

#[derive(Debug)]
struct Lane {
    ring: Ring,
    socket: OwnedFd,
    /// Slots read since the ring was last found empty.
    backlog: usize,
}

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Lanes {
    all: Vec<Lane>,
    /// Whose frames are lent, and how many slots of it.
    at: usize,
    lent: usize,
    shared: bool,
    lost: u64,
}

impl Lanes {
    /// By a packet socket and more of its namespace, `queues` in all; `inside`: None, it is ours.
    pub fn new(first: OwnedFd, queues: usize, inside: Option<&Inside>) -> io::Result<Self> {
        let mut all = vec![Lane::new(first)?];
        while all.len() < queues.clamp(1, QUEUES_MAX) {
            all.push(Lane::new(packet_socket(inside)?)?);
        }
        Ok(Lanes { all, at: 0, lent: 0, shared: false, lost: 0 })
    }

    /// The one that sends.
    #[inline]
    pub fn first(&self) -> &OwnedFd {
        &self.all[0].socket
    }

    pub fn sockets(&self) -> impl Iterator<Item = &OwnedFd> {
        self.all.iter().map(|lane| &lane.socket)
    }

    /// Whether they can't be bound elsewhere.
    pub fn is_fixed(&self) -> bool {
        self.shared
    }

    /// From now on frames of this interface come in.
    pub fn bind(&mut self, interface: i32) -> io::Result<()> {
        for lane in &self.all {
            bind(&lane.socket, interface)?;
        }
        let Some((first, others)) = self.all.split_first().filter(|(_, others)| !others.is_empty()) else {
            return Ok(());
        };
        set(&first.socket, libc::PACKET_FANOUT, (FOUND << 16).cast_signed())?;
        self.shared = true;
        let group: libc::c_int = calls::get(&first.socket, libc::SOL_PACKET, libc::PACKET_FANOUT)?;
        for lane in others {
            set(&lane.socket, libc::PACKET_FANOUT, (SHARE << 16).cast_signed() | group & 0xffff)?;
        }
        Ok(())
    }

    /// Whether they hear nothing of this interface any more, because it was gone: should it be there again,
    /// they have to be bound anew.
    pub fn have_left(&self, interface: i32) -> bool {
        bound(self.first()).is_ok_and(|index| index != interface)
    }

    /// Whether there is a frame.
    #[inline]
    pub fn ready(&self) -> bool {
        self.all.iter().any(|lane| lane.ring.ready())
    }

    /// Begin a burst with the next one that has frames.
    #[inline]
    pub fn turn(&mut self) {
        for _ in 0..self.all.len() {
            self.at = (self.at + 1) % self.all.len();
            if self.all[self.at].ring.ready() {
                return;
            }
        }
    }

    /// Slots of this burst so far.
    #[inline]
    pub fn lent(&self) -> usize {
        self.lent
    }

    /// The next frame of the burst, which is lent until `release`.
    #[inline]
    pub fn next(&mut self) -> Option<Slot> {
        let lane = &mut self.all[self.at];
        let slot = lane.ring.next()?;
        lane.backlog += 1;
        self.lent += 1;
        Some(slot)
    }

    /// The frame that the kernel put aside whole for `slot`, which was the last one. See `aside::receive`.
    pub fn whole(&self, slot: &Slot, room: &mut [u8]) -> Option<usize> {
        aside::receive(&self.all[self.at].socket, slot, room)
    }

    /// The burst is over; `losing`: a slot said that there was no room for others. Whether there is more.
    #[inline]
    pub fn end(&mut self, losing: bool) -> bool {
        let lane = &mut self.all[self.at];
        let more = lane.ring.ready();
        // Of what was lost the next slot tells. After so many there may have been no room for that one.
        if losing || !more && lane.backlog > SLOTS / 2 {
            self.lost += lane.losses();
        }
        if !more {
            lane.backlog = 0;
        }
        more || self.all.len() > 1 && self.ready()
    }

    /// Nothing of the burst is lent any more.
    #[inline]
    pub fn release(&mut self) {
        self.all[self.at].ring.release(std::mem::take(&mut self.lent));
    }

    /// One that the kernel put aside is lost.
    pub fn lose(&mut self) {
        self.lost += 1;
    }

    /// What was lost since the last call.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// What came in by them and was lost, all of it.
    pub fn count(&mut self) -> u64 {
        self.lost += self.all.iter().map(Lane::losses).sum::<u64>();
        self.take_lost()
    }
}

impl Lane {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        for option in [libc::PACKET_VNET_HDR, libc::PACKET_IGNORE_OUTGOING, libc::PACKET_AUXDATA] {
            set(&socket, option, 1)?;
        }
        for (option, plain, bytes) in [
            (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, RECEIVE_BUFFER),
            (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, SEND_BUFFER),
        ] {
            if calls::set(&socket, libc::SOL_SOCKET, option, bytes).is_err() {
                calls::set(&socket, libc::SOL_SOCKET, plain, bytes)?;
            }
        }
        Ok(Lane { ring: Ring::new(&socket)?, socket, backlog: 0 })
    }

    /// What the kernel had no room for since the last time.
    fn losses(&self) -> u64 {
        let asked = calls::get(&self.socket, libc::SOL_PACKET, libc::PACKET_STATISTICS);
        asked.map_or(0, |libc::tpacket_stats { tp_drops, .. }| u64::from(tp_drops))
    }
}

/// A packet socket that hears nothing yet.
pub(super) fn packet_socket(inside: Option<&Inside>) -> io::Result<OwnedFd> {
    let open = || {
        // SAFETY: socket takes no pointer; a descriptor that it returns is ours.
        unsafe {
            match libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) {
                fd if fd >= 0 => Ok(OwnedFd::from_raw_fd(fd)),
                _ => Err(io::Error::last_os_error()),
            }
        }
    };
    inside.map_or_else(open, |inside| inside.run(open))
}

fn bind(socket: &OwnedFd, interface: i32) -> io::Result<()> {
    // SAFETY: all-zero is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = interface;
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address lives through the call, and its size is given.
    let ret = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Which interface a packet socket is bound to.
fn bound(socket: &OwnedFd) -> io::Result<i32> {
    // SAFETY: all-zero is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address lives through the call and is writable for `len` bytes.
    let ret = unsafe { libc::getsockname(socket.as_raw_fd(), (&raw mut address).cast(), &raw mut len) };
    if ret == 0 { Ok(address.sll_ifindex) } else { Err(io::Error::last_os_error()) }
}
