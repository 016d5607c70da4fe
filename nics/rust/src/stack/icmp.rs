//! ICMP (RFC 792) and ICMPv6 (RFC 4443): echo both ways, errors both ways.

use super::conn::Tuple;
use super::guest::Guest;
use super::outbox::Outbox;
use super::packet::{Header, ICMP, ICMPV6, Packet, TCP, UDP, pseudo};
use super::sockets::{Socket, SocketId, StackError, ready};
use crate::offload::checksum::{self, sum};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use switch::Nanos;

/// Errors sent at once, and then a second (RFC 4443, 2.4 (f); RFC 1812, 4.3.2.8).
const ERRORS_BURST: u64 = 50;
const ERRORS_RATE: u64 = 100;
/// Echo requests of one ping that may be on their way.
const PINGS_MAX: usize = 256;

#[derive(Debug, Default)]
pub struct Icmp {
    /// Which ping has which identifier.
    idents: BTreeMap<u16, SocketId>,
    /// Errors that may be sent, as time that was saved up.
    saved: Nanos,
    refilled: Nanos,
}

/// Echo requests to one target.
#[derive(Debug)]
pub struct Ping {
    pub target: IpAddr,
    pub want: u8,
    source: IpAddr,
    ident: u16,
    hop_limit: u8,
    to_send: VecDeque<(u16, usize)>,
    sent: BTreeMap<u16, Nanos>,
    results: VecDeque<(u16, Result<Nanos, StackError>)>,
}

/// What an error that came tells about the packet that was ours.
struct Embedded {
    src: IpAddr,
    dst: IpAddr,
    proto: u8,
    /// The first eight bytes of its payload.
    start: [u8; 8],
}

impl Embedded {
    /// From an error's body; the packet may be cut off after eight bytes of payload.
    fn parse(bytes: &[u8], v4: bool) -> Option<Self> {
        if v4 {
            let header = bytes.first_chunk::<20>()?;
            let len = usize::from(header[0] & 15) * 4;
            let start = *bytes.get(len..)?.first_chunk::<8>()?;
            let [.., s0, s1, s2, s3, d0, d1, d2, d3] = *header;
            let (src, dst) = ([s0, s1, s2, s3].into(), [d0, d1, d2, d3].into());
            Some(Embedded { src, dst, proto: header[9], start })
        } else {
            let header = bytes.first_chunk::<40>()?;
            let address = |at: usize| header[at..].first_chunk::<16>().map(|octets| IpAddr::from(*octets));
            let start = *bytes.get(40..)?.first_chunk::<8>()?;
            Some(Embedded { src: address(8)?, dst: address(24)?, proto: header[6], start })
        }
    }
}

impl Guest {
    pub(super) fn icmp_in(&mut self, packet: &Packet<'_>, to_group: bool, out: &mut Outbox<'_>) {
        let Some((head, body)) = packet.payload.split_first_chunk::<8>() else { return };
        if checksum::fold(sum(packet.payload)) != 0xffff {
            return;
        }
        match (head[0], head[1]) {
            (8, 0) if !to_group => self.echo(packet, 0, out),
            (0, 0) => self.echoed(packet.src, [head[4], head[5], head[6], head[7]]),
            (3, code) => {
                let error = match code {
                    // Protocol and port: somebody is there, but nobody listens.
                    2 | 3 => StackError::Refused,
                    0 | 6 | 11 => StackError::NetUnreachable,
                    // "Fragmentation needed" ends no attempt.
                    4 => return,
                    _ => StackError::HostUnreachable,
                };
                self.error_in(Embedded::parse(body, true), error);
            }
            (11, 0) => self.error_in(Embedded::parse(body, true), StackError::HostUnreachable),
            _ => {}
        }
    }

    pub(super) fn icmpv6_in(&mut self, packet: &Packet<'_>, to_group: bool, out: &mut Outbox<'_>) {
        let Some((head, body)) = packet.payload.split_first_chunk::<8>() else { return };
        if !packet.checksum_ok() {
            return;
        }
        match (head[0], head[1]) {
            // An echo request to all nodes is answered (RFC 4443, 4.2), from our own address.
            (128, 0) if !packet.src.is_unspecified() => {
                if !to_group {
                    self.echo(packet, 129, out);
                } else if let Some(dst) = self.addressing.source(packet.src) {
                    self.echo(&Packet { dst, ..*packet }, 129, out);
                }
            }
            (129, 0) => self.echoed(packet.src, [head[4], head[5], head[6], head[7]]),
            (130, 0) => self.mld_in(packet),
            (135 | 136, 0) => self.discovery_in(packet, out),
            (1, code) => {
                let error = match code {
                    4 => StackError::Refused,
                    0 => StackError::NetUnreachable,
                    _ => StackError::HostUnreachable,
                };
                self.error_in(Embedded::parse(body, false), error);
            }
            (3, 0) => self.error_in(Embedded::parse(body, false), StackError::HostUnreachable),
            _ => {}
        }
    }

    /// Answer an echo request with all that it carried.
    fn echo(&mut self, request: &Packet<'_>, reply: u8, out: &mut Outbox<'_>) {
        let header = Header::new(request.dst, request.src, request.proto);
        if request.src.is_unspecified() {
            return;
        }
        self.send_icmp(out, header, request.payload.len(), |body| {
            body.copy_from_slice(request.payload);
            body[..2].copy_from_slice(&[reply, 0]);
        });
    }

    /// Send a message that `fill` writes, but for its checksum.
    fn send_icmp(&mut self, out: &mut Outbox<'_>, header: Header, len: usize, fill: impl FnOnce(&mut [u8])) {
        let base = match header.proto {
            ICMPV6 => pseudo(header.src, header.dst, ICMPV6, len),
            _ => 0,
        };
        self.send(out, header, len, |body| {
            fill(body);
            body[2..4].fill(0);
            let check = checksum::finish(base + sum(body));
            body[2..4].copy_from_slice(&check);
        });
    }

    /// Tell the sender of `packet` that it was not taken; not too often, and never to a group or
    /// about an error.
    fn send_error(&mut self, packet: &Packet<'_>, kind: [u8; 2], pointer: u32, out: &mut Outbox<'_>) {
        let step = 1_000_000_000 / ERRORS_RATE;
        let icmp = &mut self.icmp;
        if icmp.refilled == 0 {
            icmp.saved = ERRORS_BURST * step;
        }
        icmp.saved = (icmp.saved + self.now.saturating_sub(icmp.refilled)).min(ERRORS_BURST * step);
        icmp.refilled = self.now.max(1);
        if icmp.saved < step || packet.src.is_unspecified() || packet.src.is_multicast() {
            return;
        }
        icmp.saved -= step;
        let (v4, whole) = (packet.src.is_ipv4(), packet.bytes);
        // As much of it as fits the least MTU (RFC 1812, 4.3.2.3; RFC 4443, 2.4 (c)).
        let quoted = &whole[..whole.len().min(if v4 { 576 - 28 } else { 1280 - 48 })];
        let header = Header::new(packet.dst, packet.src, if v4 { ICMP } else { ICMPV6 });
        self.send_icmp(out, header, 8 + quoted.len(), |body| {
            body[..2].copy_from_slice(&kind);
            body[4..8].copy_from_slice(&pointer.to_be_bytes());
            body[8..].copy_from_slice(quoted);
        });
    }

    /// Nobody listens at this UDP port.
    pub(super) fn refuse_port(&mut self, packet: &Packet<'_>, out: &mut Outbox<'_>) {
        self.send_error(packet, if packet.src.is_ipv4() { [3, 3] } else { [1, 4] }, 0, out);
    }

    /// Not a protocol that is spoken here.
    pub(super) fn refuse_protocol(&mut self, packet: &Packet<'_>, out: &mut Outbox<'_>) {
        match packet.src {
            IpAddr::V4(_) if packet.proto == ICMPV6 => {}
            IpAddr::V4(_) => self.send_error(packet, [3, 2], 0, out),
            // Parameter problem, unrecognised next header, which the fixed header names.
            IpAddr::V6(_) if packet.proto != ICMP && packet.plain() && packet.proto != 59 => {
                self.send_error(packet, [4, 1], 6, out);
            }
            IpAddr::V6(_) => {}
        }
    }

    /// An error came: whose packet was it?
    fn error_in(&mut self, embedded: Option<Embedded>, error: StackError) {
        let Some(Embedded { src, dst, proto, start }) = embedded else { return };
        if !self.addressing.has(src) {
            return;
        }
        let [a, b, c, d, e, f, g, h] = start;
        match proto {
            TCP => {
                let local = SocketAddr::new(src, u16::from_be_bytes([a, b]));
                let remote = SocketAddr::new(dst, u16::from_be_bytes([c, d]));
                let Some(id) = self.tcp.find(&Tuple { local, remote }) else { return };
                // Only an attempt ends by an error that anybody could have sent, and only if it
                // quotes our sequence number (RFC 5927, 4.1 and 5.2).
                let seq = u32::from_be_bytes([e, f, g, h]);
                if self.sockets.conn(id).is_some_and(|conn| conn.connecting_with(seq)) {
                    self.unreachable(id, error);
                }
            }
            ICMP | ICMPV6 => {
                let (ident, seq) = (u16::from_be_bytes([e, f]), u16::from_be_bytes([g, h]));
                let Some(&id) = self.icmp.idents.get(&ident) else { return };
                if let Some(ping) = self.sockets.ping(id)
                    && ping.target == dst
                    && ping.sent.remove(&seq).is_some()
                {
                    ping.results.push_back((seq, Err(error)));
                    self.notify_ping(id);
                }
            }
            UDP => {
                let local = SocketAddr::new(src, u16::from_be_bytes([a, b]));
                let remote = SocketAddr::new(dst, u16::from_be_bytes([c, d]));
                self.udp_error(local, remote, error);
            }
            _ => {}
        }
    }

    /// Who waits for an answer from a place that can't be reached is told.
    pub(super) fn unreachable(&mut self, id: SocketId, error: StackError) {
        match self.sockets.get_mut(id) {
            Some(Socket::Tcp(_)) => self.give_up(id, error),
            Some(Socket::Udp(_)) => self.udp_unreachable(id, error),
            Some(Socket::Ping(ping)) => {
                while let Some((seq, _)) = ping.sent.pop_first() {
                    ping.results.push_back((seq, Err(error)));
                }
                self.notify_ping(id);
            }
            _ => {}
        }
    }

    fn echoed(&mut self, from: IpAddr, [i0, i1, s0, s1]: [u8; 4]) {
        let (ident, seq) = (u16::from_be_bytes([i0, i1]), u16::from_be_bytes([s0, s1]));
        let Some(&id) = self.icmp.idents.get(&ident) else { return };
        let now = self.now;
        if let Some(ping) = self.sockets.ping(id)
            && (ping.target == from || ping.target.is_multicast())
            && let Some(sent) = ping.sent.remove(&seq)
        {
            ping.results.push_back((seq, Ok(now - sent)));
            self.notify_ping(id);
        }
    }

    fn notify_ping(&mut self, id: SocketId) {
        if let Some(ping) = self.sockets.ping(id)
            && ping.want & ready::READ != 0
            && !ping.results.is_empty()
        {
            ping.want = 0;
            self.sockets.news.push((id, ready::READ));
        }
    }

    /// Prepare to ping `target`.
    pub fn ping_open(&mut self, target: IpAddr, hop_limit: u8) -> Result<SocketId, StackError> {
        let source = self.addressing.source(target).ok_or(StackError::NetUnreachable)?;
        if self.addressing.hop(target) == super::address::Hop::Nowhere {
            return Err(StackError::NetUnreachable);
        }
        let ident = (0..=u16::MAX)
            .map(|_| self.random.next() as u16)
            .find(|ident| !self.icmp.idents.contains_key(ident))
            .ok_or(StackError::TooMany)?;
        let ping = Ping {
            target,
            want: 0,
            source,
            ident,
            hop_limit: hop_limit.max(1),
            to_send: VecDeque::new(),
            sent: BTreeMap::new(),
            results: VecDeque::new(),
        };
        let id = self.sockets.add(Socket::Ping(Box::new(ping)))?;
        self.icmp.idents.insert(ident, id);
        Ok(id)
    }

    /// Have an echo request with `size` bytes of data sent; one with the same number is forgotten.
    pub fn ping_send(&mut self, id: SocketId, seq: u16, size: usize) -> Result<(), StackError> {
        let ping = self.sockets.ping(id).ok_or(StackError::Closed)?;
        // Header and data must fit an IP packet.
        if size > 65_535 - 28 {
            return Err(StackError::TooBig);
        }
        if ping.to_send.len() + ping.sent.len() + ping.results.len() >= PINGS_MAX {
            return Err(StackError::TooMany);
        }
        ping.to_send.push_back((seq, size));
        self.sockets.touch(id);
        Ok(())
    }

    /// The next answer: its number, and the time it took or why there is none.
    #[allow(clippy::type_complexity)]
    pub fn ping_recv(&mut self, id: SocketId) -> Result<(u16, Result<Nanos, StackError>), StackError> {
        let ping = self.sockets.ping(id).ok_or(StackError::Closed)?;
        ping.results.pop_front().ok_or_else(|| {
            ping.want |= ready::READ;
            StackError::WouldBlock
        })
    }

    pub(super) fn ping_close(&mut self, ping: &Ping) {
        self.icmp.idents.remove(&ping.ident);
    }

    pub(super) fn serve_ping(&mut self, id: SocketId, out: &mut Outbox<'_>) {
        let now = self.now;
        while out.roomy()
            && let Some(ping) = self.sockets.ping(id)
            && let Some((seq, size)) = ping.to_send.pop_front()
        {
            ping.sent.insert(seq, now);
            let (kind, proto) = if ping.target.is_ipv4() { (8, ICMP) } else { (128, ICMPV6) };
            let (ident, hop_limit) = (ping.ident, ping.hop_limit);
            let header = Header { hop_limit, ..Header::new(ping.source, ping.target, proto) };
            self.send_icmp(out, header, 8 + size, |body| {
                body[..2].copy_from_slice(&[kind, 0]);
                body[4..6].copy_from_slice(&ident.to_be_bytes());
                body[6..8].copy_from_slice(&seq.to_be_bytes());
                for (i, byte) in body[8..].iter_mut().enumerate() {
                    *byte = i as u8;
                }
            });
        }
        if self.sockets.ping(id).is_some_and(|ping| !ping.to_send.is_empty()) {
            self.sockets.touch(id);
        }
    }
}
