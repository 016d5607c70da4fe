//! TCP (RFC 9293), by smoltcp: which connection a segment is for, and when each of them speaks.
//!
//! smoltcp keeps the state of a connection and makes its segments. It is called one connection at a
//! time: with a segment for it, and whenever it may have something to send, which is after a segment,
//! after its user did something, and when a timer goes off. So a guest with thousands of connections
//! does no more work for a segment than one with a single connection.

use super::StackConfig;
use super::conn::{Role, Tuple};
use super::guest::{Guest, Random};
use super::linger::{Late, Lingering, Segment};
use super::listen::Listeners;
use super::outbox::{Outbox, Received, Send, Wire, capabilities};
use super::packet::{ETH, Header, Packet, TCP, header_len, pseudo};
use super::sockets::{Socket, SocketId, StackError};
use crate::offload::Offload;
use crate::offload::checksum;
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities};
use smoltcp::socket::tcp::State;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, TcpOption, TcpPacket};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use switch::Nanos;

/// Segments that one connection sends before the others have their turn.
const QUANTUM: usize = 32;
const SYN: u8 = 2;
const RST: u8 = 4;
const RETRY: Nanos = 10_000_000;
/// How often one connection answers what may be forged (RFC 5961, 7).
const CHALLENGE: Nanos = 1_000_000_000;

pub struct Tcp {
    iface: Interface,
    /// One that makes segments longer than the link's MTU, for somebody else to cut.
    large: Option<Interface>,
    /// The set without a socket: segments for it are answered by a reset.
    nobody: SocketSet<'static>,
    conns: BTreeMap<Tuple, SocketId>,
    pub listeners: Listeners,
    pub lingering: Lingering,
    pub receive_buffer: usize,
    pub send_buffer: usize,
    mtu: usize,
    /// Initial sequence numbers and ports follow from it, and from nothing that others know.
    secret: u64,
    pub opened: u64,
}

/// A device of the right shape, to make an interface for.
struct Shape(usize, bool);

impl Device for Shape {
    type RxToken<'t> = Received<'t>;
    type TxToken<'t> = Send<'t>;

    fn receive(&mut self, _now: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        None
    }

    fn transmit(&mut self, _now: Instant) -> Option<Self::TxToken<'_>> {
        None
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.0, self.1)
    }
}

fn interface(mtu: usize, gso: bool, seed: u64) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut iface = Interface::new(config, &mut Shape(mtu, gso), Instant::ZERO);
    // Which packets are for this guest was decided before smoltcp sees one.
    iface.set_any_ip(true);
    iface
}

/// smoltcp's time, in microseconds.
fn instant(now: Nanos) -> Instant {
    Instant::from_micros((now / 1000) as i64)
}

impl Tcp {
    pub fn new(config: &StackConfig, random: &mut Random) -> Self {
        let mtu = config.mtu as usize;
        Tcp {
            iface: interface(mtu, false, 0),
            // The MTU that smoltcp thinks there is must not stop it (it does, for IPv6).
            large: config.gso.then(|| interface(65_535, true, 0)),
            nobody: SocketSet::new(Vec::new()),
            conns: BTreeMap::new(),
            listeners: Listeners::default(),
            lingering: Lingering::default(),
            receive_buffer: config.receive_buffer as usize,
            send_buffer: config.send_buffer as usize,
            mtu,
            secret: random.next(),
            opened: 0,
        }
    }

    pub fn find(&self, tuple: &Tuple) -> Option<SocketId> {
        self.conns.get(tuple).copied()
    }

    pub fn insert(&mut self, tuple: Tuple, id: SocketId) {
        self.conns.insert(tuple, id);
    }

    /// The connection `id` does not have `tuple` any more.
    pub fn forget(&mut self, tuple: &Tuple, id: SocketId) {
        if self.find(tuple) == Some(id) {
            self.conns.remove(tuple);
        }
    }

    /// A number that nobody can tell who does not know the secret (RFC 6528, RFC 6056).
    pub fn unpredictable(&self, what: impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.secret, what).hash(&mut hasher);
        hasher.finish()
    }

    /// Before a connection is opened: smoltcp takes initial sequence numbers from a generator whose
    /// future follows from its past, so it gets a fresh one for each.
    pub fn fresh(&mut self, tuple: &Tuple) -> &mut Interface {
        self.opened += 1;
        let seed = self.unpredictable((tuple.local, tuple.remote, self.opened));
        self.iface = interface(self.mtu, false, seed);
        &mut self.iface
    }
}

/// Advertise a little less than smoltcp does. It rounds its window down to what the scaled field can
/// say, so that what it takes may end up to a unit before what it advertised earlier, and it then cuts
/// off bytes that were sent in good faith; they would come again after a second at the latest. One unit
/// less is what it takes in any case.
fn narrow(segment: &mut [u8]) {
    if let Some(window) = segment.get_mut(14..16) {
        let less = u16::from_be_bytes([window[0], window[1]]).saturating_sub(1);
        window.copy_from_slice(&less.to_be_bytes());
    }
}

/// The longest segment that a peer says it takes; as little as smoltcp believes.
fn mss_option(mut options: &[u8]) -> Option<usize> {
    while !options.is_empty() {
        let (rest, option) = TcpOption::parse(options).ok()?;
        match option {
            TcpOption::EndOfList => break,
            TcpOption::MaxSegmentSize(mss) if mss != 0 => return Some(usize::from(mss).max(48)),
            _ => options = rest,
        }
    }
    None
}

/// The window that a segment of ours advertises, as those behind the handshake say it: scaled, if it is. By a SYN
/// whose scale the peer does not take up it is less than there is.
fn window(segment: &[u8], syn: bool) -> u16 {
    let window = segment.get(14..16).map_or(0, |window| u16::from_be_bytes([window[0], window[1]]));
    let mut options = segment.get(20..).filter(|_| syn).unwrap_or_default();
    while let Ok((rest, option)) = TcpOption::parse(options) {
        match option {
            TcpOption::EndOfList => break,
            TcpOption::WindowScale(scale) => return window.checked_shr(scale.into()).unwrap_or(0),
            _ => options = rest,
        }
    }
    window
}

impl Guest {
    pub(super) fn tcp_in(&mut self, packet: &Packet<'_>, verified: bool, out: &mut Outbox<'_>) {
        let Ok(segment) = TcpPacket::new_checked(packet.payload) else { return };
        if packet.src.is_unspecified() || segment.src_port() == 0 || segment.dst_port() == 0 {
            return;
        }
        if !verified && !packet.checksum_ok() {
            return;
        }
        let tuple = Tuple {
            local: SocketAddr::new(packet.dst, segment.dst_port()),
            remote: SocketAddr::new(packet.src, segment.src_port()),
        };
        let (syn, rst) = (segment.syn() && !segment.ack(), segment.rst());
        let mss = if segment.syn() { mss_option(segment.options()) } else { None };
        let seq = segment.seq_number().0 as u32;
        let len = packet.payload.len() - usize::from(segment.header_len());
        let mut id = self.tcp.find(&tuple);
        if id.is_none() {
            let late = Segment { seq, syn, rst, long: len > 0 || segment.fin() };
            match self.tcp.lingering.late(&tuple, late, self.now) {
                Late::Ignore => return,
                Late::Acknowledge { seq, ack } => return self.acknowledge(&tuple, (seq, ack), 0, out),
                Late::NotHere | Late::Anew => {}
            }
            if syn && !rst {
                match self.admit(tuple) {
                    Ok(admitted) => id = admitted,
                    // The peer will try again.
                    Err(_) => return,
                }
            }
        }
        if let Some(conn) = id.and_then(|id| self.sockets.conn(id))
            && conn.challenges(seq, syn, rst)
        {
            let (sent, window) = (conn.sent, conn.window);
            if conn.challenged.is_none_or(|at| at + CHALLENGE <= self.now) {
                conn.challenged = Some(self.now);
                self.acknowledge(&tuple, sent, window, out);
            }
            return;
        }
        let plain;
        let bytes = if packet.plain() {
            packet.bytes
        } else {
            let room = header_len(packet.src.is_ipv4());
            let mut bytes = vec![0; room + packet.payload.len()];
            bytes[room..].copy_from_slice(packet.payload);
            Header::new(packet.src, packet.dst, TCP).write(&mut bytes);
            plain = bytes;
            &plain
        };
        self.current = id;
        let mut wire = Wire { rx: Some(bytes), out, sent: None };
        let now = instant(self.now);
        let (set, before) = match id {
            Some(id) => match self.sockets.conn(id) {
                Some(conn) => {
                    let before = conn.standing();
                    (&mut conn.set, Some(before))
                }
                None => return,
            },
            None => (&mut self.tcp.nobody, None),
        };
        self.tcp.iface.poll_ingress_single(now, &mut wire, set);
        if let (Some(before), Some(conn)) = (before, id.and_then(|id| self.sockets.conn(id))) {
            conn.heard(before, self.now);
            if conn.received(before, mss) == 0 && len > 0 && wire.sent.is_some() {
                conn.gap();
            }
        }
        #[cfg(test)]
        assert!(!bytes.ends_with(b"panic, for a test"), "a test wants to see what a panic does");
        if let Some(sent) = wire.sent {
            self.segment_out(id, sent, out);
        }
        let Some(id) = id else { return };
        let mss = self.tcp.mtu - 40;
        if self.sockets.conn(id).is_some_and(|conn| conn.due(mss)) && out.roomy() {
            self.poll_out(id, out);
        }
        self.sockets.touch(id);
        self.settle(id);
    }

    /// Send an acknowledgement that smoltcp does not know of. Nobody sends to one that lingers: its window is 0.
    fn acknowledge(&mut self, tuple: &Tuple, (seq, ack): (u32, u32), window: u16, out: &mut Outbox<'_>) {
        let header = Header::new(tuple.local.ip(), tuple.remote.ip(), TCP);
        let base = pseudo(header.src, header.dst, TCP, 20);
        self.send(out, header, 20, |segment| {
            segment.fill(0);
            segment[..2].copy_from_slice(&tuple.local.port().to_be_bytes());
            segment[2..4].copy_from_slice(&tuple.remote.port().to_be_bytes());
            segment[4..8].copy_from_slice(&seq.to_be_bytes());
            segment[8..12].copy_from_slice(&ack.to_be_bytes());
            segment[12..14].copy_from_slice(&[0x50, 0x10]);
            segment[14..16].copy_from_slice(&window.to_be_bytes());
            let check = checksum::finish(base + checksum::sum(segment));
            segment[16..18].copy_from_slice(&check);
        });
    }

    /// Have a connection send one segment, if it has one. Returns whether it had.
    fn poll_out(&mut self, id: SocketId, out: &mut Outbox<'_>) -> bool {
        let Some(conn) = self.sockets.conn(id) else { return false };
        if conn.silent {
            return false;
        }
        let mut wire = Wire { rx: None, out, sent: None };
        let iface = match &mut self.tcp.large {
            Some(large) if conn.large() => large,
            _ => &mut self.tcp.iface,
        };
        iface.poll_egress(instant(self.now), &mut wire, &mut conn.set);
        match wire.sent {
            Some(len) => {
                self.segment_out(Some(id), len, out);
                true
            }
            None => false,
        }
    }

    /// smoltcp made a segment, all but its checksum, as the outbox's draft: send it.
    fn segment_out(&mut self, id: Option<SocketId>, len: usize, out: &mut Outbox<'_>) {
        let Some(draft) = out.draft(len) else { return };
        let v4 = draft.first().is_some_and(|first| first >> 4 == 4);
        let room = header_len(v4);
        let Some((ip, segment)) = draft.split_at_mut_checked(room) else { return };
        let Some(header) = segment.first_chunk::<20>() else { return };
        let [_, _, _, _, s0, s1, s2, s3, a0, a1, a2, a3, offset, flags, ..] = *header;
        let (seq, ack) = (u32::from_be_bytes([s0, s1, s2, s3]), u32::from_be_bytes([a0, a1, a2, a3]));
        let header_len = usize::from(offset >> 4) * 4;
        if flags & (SYN | RST) == 0 {
            narrow(segment);
        }
        let window = window(segment, flags & SYN != 0);
        // The sum of the pseudo-header stands where the checksum will (virtio 1.2, 5.1.6.2).
        let sum = if v4 { checksum::sum(&ip[12..20]) } else { checksum::sum(&ip[8..40]) };
        let sum = sum + checksum::sum(&(segment.len() as u32).to_be_bytes()) + checksum::sum(&[0, TCP]);
        segment[16..18].copy_from_slice(&checksum::fold(sum).to_ne_bytes());
        // SYN and FIN count as a byte each.
        let data = segment.len().saturating_sub(header_len);
        let count = data as u32 + u32::from(flags & 1) + u32::from(flags >> 1 & 1);
        let mut offload = Offload {
            flags: Offload::NEEDS_CSUM,
            hdr_len: (ETH + room + header_len) as u16,
            csum_start: (ETH + room) as u16,
            csum_offset: 16,
            ..Offload::NONE
        };
        if let Some(conn) = id.and_then(|id| self.sockets.conn(id)) {
            conn.acknowledged(seq, count, ack);
            conn.window = window;
            let mss = conn.peer_mss.min(self.tcp.mtu - room - 20);
            if data > mss {
                offload.gso_type = if v4 { Offload::GSO_TCPV4 } else { Offload::GSO_TCPV6 };
                offload.gso_size = mss as u16;
            }
        }
        self.transmit(out, len, offload);
    }

    /// Have a socket do what it has to do.
    pub(super) fn serve(&mut self, id: SocketId, out: &mut Outbox<'_>) {
        self.current = Some(id);
        match self.sockets.get(id) {
            Some(Socket::Tcp(_)) => {
                let now = self.now;
                let expiry = self.sockets.conn(id).and_then(|conn| conn.expiry(now));
                let expired = expiry.filter(|(at, _)| *at <= now);
                if let Some((_, error)) = expired {
                    return self.give_up(id, error);
                }
                if let Some(conn) = self.sockets.conn(id) {
                    conn.remind(now);
                }
                for _ in 0..QUANTUM {
                    if !out.roomy() {
                        break;
                    }
                    if !self.poll_out(id, out) {
                        return self.rest(id);
                    }
                }
                self.sockets.touch(id);
                self.settle(id);
            }
            Some(Socket::Udp(_)) => self.serve_udp(id, out),
            Some(Socket::Ping(_)) => self.serve_ping(id, out),
            Some(Socket::Raw(_)) => self.serve_raw(id, out),
            Some(Socket::Listener(_)) | None => {}
        }
    }

    /// A connection has said all it has to say for now.
    fn rest(&mut self, id: SocketId) {
        let now = self.now;
        if let Some(conn) = self.sockets.conn(id)
            && !conn.silent
        {
            if conn.role == Role::Orphan && conn.state() == State::TimeWait {
                // Its last acknowledgement is out; what is left fits a record.
                let (tuple, sent) = (conn.tuple, conn.sent);
                self.tcp.lingering.add(tuple, sent, now);
                self.discard(id);
                return;
            }
            let poll = self.tcp.iface.poll_at(instant(now), &conn.set);
            // A moment that has come although nothing was sent would come again at once, for ever.
            let poll = poll.map(|at| match at.total_micros().max(0) as u64 * 1000 {
                at if at > now => at,
                _ => now + RETRY,
            });
            let at = poll.into_iter().chain(conn.expiry(now).map(|(at, _)| at)).min();
            self.sockets.set_timer(id, at);
        }
        self.settle(id);
    }

    /// Source address for a connection to `to`.
    pub(super) fn source_for(&self, to: IpAddr, local: Option<IpAddr>) -> Result<IpAddr, StackError> {
        match local.filter(|local| !local.is_unspecified()) {
            Some(local) if local.is_ipv4() != to.is_ipv4() => Err(StackError::Invalid),
            Some(local) if !self.addressing.has(local) => Err(StackError::AddressNotAvailable),
            Some(local) => Ok(local),
            None => self.addressing.source(to).ok_or(StackError::NetUnreachable),
        }
    }
}
