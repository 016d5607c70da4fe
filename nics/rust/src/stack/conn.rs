//! One TCP connection: smoltcp's socket, and what we keep beside it.
//!
//! Every connection has a socket set of its own, so that smoltcp, which looks through a set in
//! order, is only ever shown the one socket that a packet is for.

use super::memory::Mapping;
use super::sockets::{SocketId, StackError, ready};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::time::Duration;
use std::io;
use std::net::{IpAddr, SocketAddr};
use switch::Nanos;

/// Which connection a segment belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tuple {
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

/// Whose a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Somebody has its number.
    User,
    /// A listener's: the handshake goes on ...
    HalfOpen(SocketId),
    /// ... or is done, and it waits to be accepted.
    Queued(SocketId),
    /// Nobody's any more: what was sent is still delivered.
    Orphan,
}

/// Bytes received before acknowledgements become sparse, and sent before segments become large.
/// Both are what lets a sender's window grow in its first round trips.
const EAGER: usize = 1 << 20;
/// The same after a loss, from which the window grows back slowly.
const CAREFUL: usize = 4 << 20;
/// What a peer takes that does not say (RFC 9293, 3.7.1).
pub const PEER_MSS: usize = 536;
/// Peers that take less do not get super-frames, which would be cut into too many.
const SUPER_MSS: usize = 256;

/// Without progress for that long, an attempt ends (Linux: six SYNs), data that nobody acknowledges
/// ends a connection (RFC 9293, 3.8.3: at least 100 s; Linux: about 15 minutes), and one that was
/// closed is forgotten: after three times what a segment that gets lost waits for the next attempt at most, and
/// where nothing is on its way any more sooner (Linux: `tcp_fin_timeout`).
const CONNECT_TIMEOUT: Nanos = 127_000_000_000;
const USER_TIMEOUT: Nanos = 924_000_000_000;
const ORPHAN_TIMEOUT: Nanos = 180_000_000_000;
const FIN_TIMEOUT: Nanos = 60_000_000_000;
/// How long a handshake that somebody else began may take.
const HANDSHAKE_TIMEOUT: Nanos = 20_000_000_000;

/// When a silent peer is asked whether it is there: after `idle`, then every `interval`; when it has
/// not answered `count` times, the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    pub idle: Nanos,
    pub interval: Nanos,
    pub count: u32,
}

/// What a segment changes of a connection only when it is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    state: State,
    /// Bytes that are sent, or still to be, and not acknowledged.
    unsent: usize,
    /// Bytes that came in order and were not read.
    unread: usize,
}

pub struct Conn {
    pub set: SocketSet<'static>,
    handle: SocketHandle,
    pub tuple: Tuple,
    pub role: Role,
    pub want: u8,
    /// Why it ended, when it did not end in order.
    pub error: Option<StackError>,
    /// It must not send any more, not even a reset.
    pub silent: bool,
    /// Its state when it was last looked at.
    pub seen: State,
    /// The number behind the segment that was sent last, and the one it acknowledged.
    pub sent: (u32, u32),
    /// The window that was advertised last.
    pub window: u16,
    /// The longest segment that its peer takes.
    pub peer_mss: usize,
    /// The number behind all that was ever sent.
    high: Option<u32>,
    /// Bytes that are still to be sent in segments as the wire sees them.
    plain: usize,
    /// When a segment that could be forged was last answered.
    pub challenged: Option<Nanos>,
    /// Since when nothing moved; not known before it was next served.
    pub progress: Option<Nanos>,
    keep_alive: Option<KeepAlive>,
    /// Bytes received since the last acknowledgement, and how many more are acknowledged eagerly.
    unacknowledged: usize,
    eager: usize,
    /// The socket's buffers. They must be dropped after `set`, which has slices of them; fields are
    /// dropped in order.
    _receive: Mapping,
    _send: Mapping,
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conn").field("tuple", &self.tuple).field("role", &self.role).finish_non_exhaustive()
    }
}

impl Conn {
    /// A socket that is neither connecting nor listening yet.
    pub fn new(tuple: Tuple, role: Role, receive: usize, send: usize) -> io::Result<Self> {
        let (mut receive, mut send) = (Mapping::new(receive)?, Mapping::new(send)?);
        // SAFETY: each slice is taken once, given to the socket in `set`, and dropped with it before
        // the mappings: `set` stands before them, is never replaced, and no slice is taken out of it.
        let (rx, tx) = unsafe { (receive.slice(), send.slice()) };
        let mut socket = Socket::new(SocketBuffer::new(rx), SocketBuffer::new(tx));
        // Whoever writes little pieces wants them sent, as with trio's own streams.
        socket.set_nagle_enabled(false);
        // Acknowledgements go out when a burst was looked at, which is delay enough.
        socket.set_ack_delay(None);
        socket.set_congestion_control(CongestionControl::Cubic);
        let mut set = SocketSet::new(Vec::with_capacity(1));
        let handle = set.add(socket);
        Ok(Conn {
            set,
            handle,
            tuple,
            role,
            want: 0,
            error: None,
            silent: false,
            seen: State::Closed,
            sent: (0, 0),
            window: 0,
            peer_mss: PEER_MSS,
            high: None,
            plain: EAGER,
            challenged: None,
            progress: None,
            keep_alive: None,
            unacknowledged: 0,
            eager: EAGER,
            _receive: receive,
            _send: send,
        })
    }

    pub fn socket(&mut self) -> &mut Socket<'static> {
        self.set.get_mut(self.handle)
    }

    pub fn state(&self) -> State {
        self.set.get::<Socket<'_>>(self.handle).state()
    }

    /// Nothing more will happen: it is closed, and no reset waits to be sent.
    pub fn over(&self) -> bool {
        let socket = self.set.get::<Socket<'_>>(self.handle);
        self.silent || socket.state() == State::Closed && socket.local_endpoint().is_none()
    }

    /// Whom it tries to reach, while it does.
    pub fn connecting_to(&self) -> Option<IpAddr> {
        (self.role == Role::User && self.state() == State::SynSent).then(|| self.tuple.remote.ip())
    }

    /// Whether it is an attempt whose SYN has this number.
    pub fn connecting_with(&self, seq: u32) -> bool {
        self.connecting_to().is_some() && self.sent.0 == seq.wrapping_add(1)
    }

    pub fn standing(&self) -> Standing {
        let socket = self.set.get::<Socket<'_>>(self.handle);
        let (unsent, unread) = (socket.send_queue(), socket.recv_queue());
        Standing { state: socket.state(), unsent, unread }
    }

    /// A segment came; it stood so before. For who waits for an answer each is one. What nobody has
    /// any more, or not yet, must get on by it: a peer that only talks would keep it for ever.
    pub fn heard(&mut self, before: Standing, now: Nanos) {
        if matches!(self.role, Role::User | Role::Queued(_)) || self.standing() != before {
            self.progress = Some(now);
        }
    }

    /// What is accepted of a segment, in a handshake also that its sender takes segments of `mss`; it stood so
    /// before. Returns how many bytes came in order by it.
    pub fn received(&mut self, before: Standing, mss: Option<usize>) -> usize {
        let after = self.standing();
        if matches!(before.state, State::Listen | State::SynSent) && after.state != before.state {
            self.peer_mss = mss.unwrap_or(self.peer_mss);
        }
        let len = after.unread.saturating_sub(before.unread);
        self.unacknowledged += len;
        self.eager = self.eager.saturating_sub(len);
        len
    }

    /// Data did not come in order, and is answered at once, which tells of a gap: the sender's window will have
    /// to grow again.
    pub fn gap(&mut self) {
        self.eager = EAGER;
    }

    /// Whether a reset with this number may be the peer's, who knows what we acknowledged, and not
    /// of somebody who only guesses a number within the window (RFC 5961, 3.2).
    pub fn believes_reset(&self, seq: u32) -> bool {
        match self.state() {
            State::Closed | State::Listen | State::SynSent => true,
            _ => seq.wrapping_sub(self.sent.1) as usize <= self.unacknowledged,
        }
    }

    /// Whether a segment is answered by what we have and nothing else comes of it: a reset that may be forged, or the
    /// beginning of a connection where one is. Who has forgotten ours, having started anew, resets it then, and the next
    /// attempt begins another (RFC 9293, 3.10.7.4; RFC 5961, 4.2).
    pub fn challenges(&self, seq: u32, syn: bool, rst: bool) -> bool {
        let synchronized =
            !matches!(self.state(), State::Closed | State::Listen | State::SynSent | State::SynReceived);
        rst && !self.believes_reset(seq) || syn && !rst && synchronized
    }

    /// Whether an acknowledgement should go out at once: for every second full segment while the
    /// sender's window grows by acknowledgements (RFC 5681, 3.1 and 4.2), for every sixteenth when
    /// it has grown.
    pub fn due(&self, mss: usize) -> bool {
        self.unacknowledged >= if self.eager > 0 { 2 * mss } else { 16 * mss }
    }

    /// A segment was sent, and with it an acknowledgement.
    pub fn acknowledged(&mut self, seq: u32, len: u32, ack: u32) {
        let end = seq.wrapping_add(len);
        self.sent = (end, ack);
        self.unacknowledged = 0;
        // A single byte may be a probe of a closed window, which is sent again with what follows.
        if len > 1 {
            self.plain = self.plain.saturating_sub(len as usize);
            match self.high {
                Some(high) if (high.wrapping_sub(seq) as i32) > 0 => self.plain = CAREFUL,
                _ => {}
            }
            if self.high.is_none_or(|high| (end.wrapping_sub(high) as i32) > 0) {
                self.high = Some(end);
            }
        }
    }

    /// Whether its next segment may be a super-frame. Every segment sent alone is acknowledged
    /// sooner, and a window grows by acknowledgements; once it has grown, large ones cost less.
    pub fn large(&self) -> bool {
        self.plain == 0 && self.peer_mss >= SUPER_MSS && self.state() != State::SynReceived
    }

    /// What it is ready for.
    pub fn ready(&mut self) -> u8 {
        let connecting = matches!(self.state(), State::SynSent | State::SynReceived);
        let socket = self.socket();
        let mut bits = 0;
        if socket.can_recv() || !socket.may_recv() && !connecting {
            bits |= ready::READ;
        }
        // Not for every little room: a sender is woken to do something worth it.
        let room = socket.send_capacity() - socket.send_queue();
        if !connecting && (!socket.may_send() || room >= socket.send_capacity() / 4) {
            bits |= ready::WRITE;
        }
        bits
    }

    pub fn keep(&mut self, keep: Option<KeepAlive>) {
        self.keep_alive = keep;
        // It was not asked before, however long it was silent.
        self.progress = None;
        if keep.is_none() {
            self.socket().set_keep_alive(None);
        }
    }

    /// The first question comes after `idle`, the others sooner.
    pub fn remind(&mut self, now: Nanos) {
        if let Some(keep) = self.keep_alive
            && self.state() == State::Established
        {
            let silent = now.saturating_sub(*self.progress.get_or_insert(now));
            let next = if silent < keep.idle { keep.idle } else { keep.interval };
            self.socket().set_keep_alive(Some(Duration::from_micros(next / 1000)));
        }
    }

    /// When it ends if nothing moves, and by which error.
    pub fn expiry(&mut self, now: Nanos) -> Option<(Nanos, StackError)> {
        let since = *self.progress.get_or_insert(now);
        let state = self.state();
        if state == State::Closed {
            // It has ended, also if data is left that was never acknowledged: only its reset is still to be sent.
            return None;
        }
        let unsent = self.socket().send_queue() > 0;
        let closing = matches!(state, State::FinWait1 | State::Closing | State::LastAck);
        let timeout = match (self.role, state) {
            (Role::HalfOpen(_), _) => HANDSHAKE_TIMEOUT,
            (_, State::SynSent | State::SynReceived) => CONNECT_TIMEOUT,
            (Role::Orphan, State::FinWait2) => FIN_TIMEOUT,
            (Role::Orphan, _) if unsent || closing => ORPHAN_TIMEOUT,
            _ if unsent || closing => USER_TIMEOUT,
            (_, State::Established) => match self.keep_alive {
                Some(keep) => keep.idle.saturating_add(keep.interval.saturating_mul(u64::from(keep.count))),
                None => return None,
            },
            _ => return None,
        };
        Some((since.saturating_add(timeout), StackError::TimedOut))
    }
}
