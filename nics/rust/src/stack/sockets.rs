//! The guest's sockets by number: what they are, who waits for them, and which have something to do.

use super::conn::Conn;
use super::icmp::Ping;
use super::listen::Listener;
use super::raw::Raw;
use super::udp::Udp;
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use switch::Nanos;

/// A socket's number: unique while it is open, and not soon used again.
pub type SocketId = u32;

/// What a socket is ready for, as in [`EventKind::Socket`](crate::EventKind::Socket).
pub mod ready {
    /// There is something to receive, or the end of the stream, or an error.
    pub const READ: u8 = 1;
    /// There is room to send, a connection attempt is over, or there is an error.
    pub const WRITE: u8 = 2;
    /// A connection waits to be accepted.
    pub const ACCEPT: u8 = 4;
}

/// Why something could not be done. Each is one of the operating system's errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackError {
    /// Not now: an event will tell when.
    WouldBlock,
    /// There is no such socket, or the guest left its port.
    Closed,
    /// Not what this socket does, or not an address that can be meant.
    Invalid,
    Refused,
    Reset,
    TimedOut,
    HostUnreachable,
    NetUnreachable,
    AddressInUse,
    /// The address is not this guest's.
    AddressNotAvailable,
    /// More than a datagram can hold.
    TooBig,
    /// The guest has as many sockets as it may.
    TooMany,
    NotConnected,
    /// Sent after the sending half was closed.
    BrokenPipe,
}

impl StackError {
    /// The operating system's number for it.
    #[must_use]
    pub fn errno(self) -> i32 {
        match self {
            StackError::WouldBlock => libc::EAGAIN,
            StackError::Closed => libc::EBADF,
            StackError::Invalid => libc::EINVAL,
            StackError::Refused => libc::ECONNREFUSED,
            StackError::Reset => libc::ECONNRESET,
            StackError::TimedOut => libc::ETIMEDOUT,
            StackError::HostUnreachable => libc::EHOSTUNREACH,
            StackError::NetUnreachable => libc::ENETUNREACH,
            StackError::AddressInUse => libc::EADDRINUSE,
            StackError::AddressNotAvailable => libc::EADDRNOTAVAIL,
            StackError::TooBig => libc::EMSGSIZE,
            StackError::TooMany => libc::EMFILE,
            StackError::NotConnected => libc::ENOTCONN,
            StackError::BrokenPipe => libc::EPIPE,
        }
    }
}

impl fmt::Display for StackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StackError::WouldBlock => "not ready",
            StackError::Closed => "the socket is closed",
            StackError::Invalid => "not possible with this socket or address",
            StackError::Refused => "connection refused",
            StackError::Reset => "connection reset by peer",
            StackError::TimedOut => "no answer in time",
            StackError::HostUnreachable => "no route to host",
            StackError::NetUnreachable => "network is unreachable",
            StackError::AddressInUse => "address already in use",
            StackError::AddressNotAvailable => "not an address of this guest",
            StackError::TooBig => "message too long",
            StackError::TooMany => "too many open sockets",
            StackError::NotConnected => "not connected",
            StackError::BrokenPipe => "the sending half is closed",
        })
    }
}

impl std::error::Error for StackError {}

#[derive(Debug)]
pub enum Socket {
    Tcp(Box<Conn>),
    Listener(Box<Listener>),
    Udp(Box<Udp>),
    Ping(Box<Ping>),
    Raw(Box<Raw>),
}

#[derive(Debug, Default)]
struct Slot {
    generation: u16,
    socket: Option<Socket>,
    /// Waits in `busy`.
    busy: bool,
    timer: Option<Nanos>,
}

/// All sockets of one guest.
#[derive(Debug)]
pub struct Sockets {
    slots: Vec<Slot>,
    free: Vec<u16>,
    open: usize,
    limit: usize,
    /// Have something to send or to be looked at, in order.
    busy: VecDeque<SocketId>,
    timers: BTreeSet<(Nanos, SocketId)>,
    /// Events on their way up.
    pub news: Vec<(SocketId, u8)>,
}

fn index(id: SocketId) -> usize {
    (id & 0xffff) as usize
}

impl Sockets {
    pub fn new(limit: usize) -> Self {
        Sockets {
            slots: Vec::new(),
            free: Vec::new(),
            open: 0,
            limit: limit.min(65_535),
            busy: VecDeque::new(),
            timers: BTreeSet::new(),
            news: Vec::new(),
        }
    }

    fn slot(&self, id: SocketId) -> Option<&Slot> {
        self.slots.get(index(id)).filter(|slot| u32::from(slot.generation) == id >> 16)
    }

    fn slot_mut(&mut self, id: SocketId) -> Option<&mut Slot> {
        self.slots.get_mut(index(id)).filter(|slot| u32::from(slot.generation) == id >> 16)
    }

    /// How many more may be opened.
    pub fn room(&self) -> usize {
        self.limit - self.open
    }

    pub fn len(&self) -> usize {
        self.open
    }

    pub fn add(&mut self, socket: Socket) -> Result<SocketId, StackError> {
        if self.room() == 0 {
            return Err(StackError::TooMany);
        }
        let at = match self.free.pop() {
            Some(at) => usize::from(at),
            None => {
                self.slots.push(Slot { generation: 1, ..Slot::default() });
                self.slots.len() - 1
            }
        };
        let slot = &mut self.slots[at];
        slot.socket = Some(socket);
        self.open += 1;
        Ok(u32::from(slot.generation) << 16 | at as u32)
    }

    pub fn remove(&mut self, id: SocketId) -> Option<Socket> {
        let slot = self.slot_mut(id)?;
        let socket = slot.socket.take()?;
        if let Some(timer) = slot.timer.take() {
            self.timers.remove(&(timer, id));
        }
        let slot = self.slot_mut(id)?;
        slot.generation = slot.generation.wrapping_add(1).max(1);
        slot.busy = false;
        self.free.push(index(id) as u16);
        self.open -= 1;
        Some(socket)
    }

    pub fn get(&self, id: SocketId) -> Option<&Socket> {
        self.slot(id)?.socket.as_ref()
    }

    pub fn get_mut(&mut self, id: SocketId) -> Option<&mut Socket> {
        self.slot_mut(id)?.socket.as_mut()
    }

    pub fn conn(&mut self, id: SocketId) -> Option<&mut Conn> {
        match self.get_mut(id)? {
            Socket::Tcp(conn) => Some(conn),
            _ => None,
        }
    }

    pub fn listener(&mut self, id: SocketId) -> Option<&mut Listener> {
        match self.get_mut(id)? {
            Socket::Listener(listener) => Some(listener),
            _ => None,
        }
    }

    pub fn udp(&mut self, id: SocketId) -> Option<&mut Udp> {
        match self.get_mut(id)? {
            Socket::Udp(udp) => Some(udp),
            _ => None,
        }
    }

    pub fn raw(&mut self, id: SocketId) -> Option<&mut Raw> {
        match self.get_mut(id)? {
            Socket::Raw(raw) => Some(raw),
            _ => None,
        }
    }

    pub fn ping(&mut self, id: SocketId) -> Option<&mut Ping> {
        match self.get_mut(id)? {
            Socket::Ping(ping) => Some(ping),
            _ => None,
        }
    }

    pub fn ids(&self) -> Vec<SocketId> {
        let open = self.slots.iter().enumerate().filter(|(_, slot)| slot.socket.is_some());
        open.map(|(at, slot)| u32::from(slot.generation) << 16 | at as u32).collect()
    }

    /// Have it looked at in this turn or the next.
    pub fn touch(&mut self, id: SocketId) {
        if let Some(slot) = self.slot_mut(id)
            && slot.socket.is_some()
            && !slot.busy
        {
            slot.busy = true;
            self.busy.push_back(id);
        }
    }

    pub fn busy(&self) -> bool {
        !self.busy.is_empty()
    }

    /// How many are to be looked at.
    pub fn busy_len(&self) -> usize {
        self.busy.len()
    }

    pub fn next_busy(&mut self) -> Option<SocketId> {
        while let Some(id) = self.busy.pop_front() {
            if let Some(slot) = self.slot_mut(id)
                && slot.socket.is_some()
            {
                slot.busy = false;
                return Some(id);
            }
        }
        None
    }

    /// Have it looked at `at`, too. A timer that is set earlier stays: when it goes off, the socket
    /// says anew what it wants, which costs less than moving it with every packet.
    pub fn set_timer(&mut self, id: SocketId, at: Option<Nanos>) {
        let Some(slot) = self.slot_mut(id) else { return };
        let old = slot.timer;
        if let (Some(old), Some(at)) = (old, at)
            && old <= at
        {
            return;
        }
        slot.timer = at;
        if let Some(old) = old {
            self.timers.remove(&(old, id));
        }
        if let Some(at) = at {
            self.timers.insert((at, id));
        }
    }

    pub fn deadline(&self) -> Option<Nanos> {
        self.timers.first().map(|&(at, _)| at)
    }

    /// Touch all whose timer went off.
    pub fn tick(&mut self, now: Nanos) {
        while let Some(&(at, id)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            if let Some(slot) = self.slot_mut(id) {
                slot.timer = None;
            }
            self.touch(id);
        }
    }
}
