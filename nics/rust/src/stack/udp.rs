//! UDP (RFC 768): sockets with bounded queues, unicast, broadcast and multicast.

use super::address::{Hop, Scope};
use super::guest::{Guest, Random};
use super::multicast::GROUPS_MAX;
use super::outbox::Outbox;
use super::packet::{Header, Packet, UDP, pseudo};
use super::sockets::{Socket, SocketId, StackError, ready};
use crate::offload::Offload;
use crate::offload::checksum::{self, sum};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

/// What a queue holds at most, each way; a datagram counts as more than its bytes.
const QUEUE_BYTES: usize = 512 << 10;
const OVERHEAD: usize = 128;
/// Ports that are given to who asks for none (as Linux does).
pub const EPHEMERAL: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// A datagram that came: from where, to which address, and what.
pub type Datagram = (SocketAddr, IpAddr, Box<[u8]>);

#[derive(Debug)]
pub struct Udp {
    pub want: u8,
    pub port: u16,
    pub scope: Scope,
    /// Whom it talks with alone, if it was connected, and from which address.
    pub peer: Option<(IpAddr, SocketAddr)>,
    /// It sent something and has heard nothing since.
    asked: bool,
    /// What was heard of a peer that can't be reached; told once.
    error: Option<StackError>,
    pub settings: UdpSettings,
    groups: Vec<IpAddr>,
    received: VecDeque<Datagram>,
    received_bytes: usize,
    to_send: VecDeque<(Header, u16, Box<[u8]>)>,
    to_send_bytes: usize,
    /// Datagrams that found the queue full.
    pub lost: u64,
}

/// What can be set for a UDP socket.
#[derive(Clone, Copy, Debug)]
pub struct UdpSettings {
    /// Others that say so too may have the same port and address.
    pub shared: bool,
    /// Hop limits, to one station and to a group.
    pub hops: u8,
    pub group_hops: u8,
    /// What is sent to a group is received here, too, by whoever joined it.
    pub group_loop: bool,
}

impl Default for UdpSettings {
    fn default() -> Self {
        // Off this link only when the sender means it (RFC 1112, 6.1).
        UdpSettings { shared: false, hops: 64, group_hops: 1, group_loop: false }
    }
}

impl Udp {
    fn takes(&self, from: SocketAddr, dst: IpAddr, to_group: bool) -> bool {
        if let Some((own, peer)) = self.peer {
            return from == peer && (own == dst || dst.is_multicast() && self.groups.contains(&dst));
        }
        let other_group = self.scope.one().is_some_and(|one| one.is_multicast() && one != dst);
        match self.scope {
            _ if other_group => false,
            scope if dst.is_multicast() => scope.speaks(dst) && self.groups.contains(&dst),
            Scope::One(address) => !to_group && address == dst,
            scope => scope.speaks(dst),
        }
    }

    /// Who may turn out not to be there: the peer of a connected socket that it sent something to.
    pub fn waits_for(&self) -> Option<IpAddr> {
        self.peer.filter(|_| self.asked).map(|(_, peer)| peer.ip())
    }

    /// What [`QUEUE_BYTES`] still leaves to be sent.
    fn sendable(&self) -> bool {
        self.to_send_bytes < QUEUE_BYTES / 2
    }
}

/// Which sockets have which port.
#[derive(Debug)]
pub struct Ports {
    bound: BTreeMap<u16, Vec<SocketId>>,
    next: u16,
}

/// A port from the range of those that nobody asked for by number.
pub fn ephemeral(n: u64) -> u16 {
    let (first, last) = (*EPHEMERAL.start(), *EPHEMERAL.end());
    first + (n % u64::from(last - first + 1)) as u16
}

impl Ports {
    pub fn new(random: &mut Random) -> Self {
        Ports { bound: BTreeMap::new(), next: random.next() as u16 }
    }
}

impl Guest {
    pub(super) fn udp_in(
        &mut self,
        packet: &Packet<'_>,
        to_group: bool,
        verified: bool,
        offload: Offload,
        out: &mut Outbox<'_>,
    ) {
        let Some((head, _)) = packet.payload.split_first_chunk::<8>() else { return };
        let [s0, s1, d0, d1, l0, l1, c0, c1] = *head;
        let (src, dst) = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
        let super_frame = offload.gso_type == Offload::GSO_UDP_L4 && offload.gso_size > 0;
        let len = match usize::from(u16::from_be_bytes([l0, l1])) {
            _ if super_frame => packet.payload.len(),
            len => len,
        };
        let Some(data) = packet.payload.get(8..len) else { return };
        // Over IPv4 a checksum may be left out, over IPv6 not (RFC 8200, 8.1).
        let none = [c0, c1] == [0, 0];
        let right = || {
            let total = pseudo(packet.src, packet.dst, UDP, len) + sum(&packet.payload[..len]);
            checksum::fold(total) == 0xffff
        };
        let right = verified || if none { packet.src.is_ipv4() } else { right() };
        if dst == 0 || !right {
            return;
        }
        let takers: Vec<SocketId> = match self.ports.bound.get(&dst) {
            Some(ids) => ids.clone(),
            None => Vec::new(),
        };
        let from = SocketAddr::new(packet.src, src);
        let mut taken = false;
        for id in takers {
            let Some(udp) = self.sockets.udp(id) else { continue };
            if !udp.takes(from, packet.dst, to_group) {
                continue;
            }
            taken = true;
            if super_frame && !data.is_empty() {
                for datagram in data.chunks(usize::from(offload.gso_size)) {
                    udp.receive(from, packet.dst, datagram);
                }
            } else {
                udp.receive(from, packet.dst, data);
            }
            self.notify_udp(id);
            // A unicast datagram is for one socket: the one with this very address, if there is.
            if !to_group {
                break;
            }
        }
        if !taken && !to_group {
            self.refuse_port(packet, out);
        }
    }

    fn notify_udp(&mut self, id: SocketId) {
        if let Some(udp) = self.sockets.udp(id) {
            let readable = if udp.received.is_empty() && udp.error.is_none() { 0 } else { ready::READ };
            let writable = if udp.sendable() || udp.error.is_some() { ready::WRITE } else { 0 };
            let hit = udp.want & (readable | writable);
            if hit != 0 {
                udp.want &= !hit;
                self.sockets.news.push((id, hit));
            }
        }
    }

    /// Bind a socket to `port` (0: any), of `address` or of all.
    pub fn udp_bind(&mut self, address: Option<IpAddr>, port: u16) -> Result<SocketId, StackError> {
        self.udp_open(address, port, UdpSettings::default())
    }

    /// The same, with settings of its own.
    pub fn udp_open(
        &mut self,
        address: Option<IpAddr>,
        port: u16,
        settings: UdpSettings,
    ) -> Result<SocketId, StackError> {
        let scope = Scope::of(address);
        let own = |address: IpAddr| self.addressing.has(address) || address.is_multicast();
        if scope.one().is_some_and(|address| !own(address)) {
            return Err(StackError::AddressNotAvailable);
        }
        let port = match port {
            0 => self.udp_port().ok_or(StackError::AddressInUse)?,
            _ => port,
        };
        let others = self.ports.bound.get(&port).cloned().unwrap_or_default();
        for other in others {
            if let Some(udp) = self.sockets.udp(other)
                && udp.scope.one() == scope.one()
                && udp.scope.meets(scope)
                && !(udp.settings.shared && settings.shared)
            {
                return Err(StackError::AddressInUse);
            }
        }
        let udp = Udp {
            want: 0,
            port,
            scope,
            peer: None,
            asked: false,
            error: None,
            settings,
            groups: Vec::new(),
            received: VecDeque::new(),
            received_bytes: 0,
            to_send: VecDeque::new(),
            to_send_bytes: 0,
            lost: 0,
        };
        let id = self.sockets.add(Socket::Udp(Box::new(udp)))?;
        self.ports.bound.entry(port).or_default().push(id);
        self.udp_rank(port);
        Ok(id)
    }

    /// The better match comes first: who is connected, then who has an address.
    fn udp_rank(&mut self, port: u16) {
        let Some(mut ids) = self.ports.bound.remove(&port) else { return };
        ids.sort_by_key(|&id| match self.sockets.udp(id) {
            Some(udp) if udp.peer.is_some() => 0,
            Some(udp) if udp.scope.one().is_some() => 1,
            _ => 2,
        });
        self.ports.bound.insert(port, ids);
    }

    pub fn udp_set(&mut self, id: SocketId, settings: UdpSettings) -> Result<(), StackError> {
        self.sockets.udp(id).ok_or(StackError::Closed)?.settings = settings;
        Ok(())
    }

    /// Talk with `peer` alone from now on, and hear when it can't be reached; `None`: with all again.
    pub fn udp_connect(&mut self, id: SocketId, peer: Option<SocketAddr>) -> Result<(), StackError> {
        let udp = self.sockets.udp(id).ok_or(StackError::Closed)?;
        let port = udp.port;
        udp.peer = match peer {
            None => None,
            Some(peer) => {
                if peer.port() == 0 || !udp.scope.speaks(peer.ip()) {
                    return Err(StackError::Invalid);
                }
                let source = udp.scope.one().or_else(|| self.addressing.source(peer.ip()));
                let source = source.filter(|_| self.addressing.hop(peer.ip()) != Hop::Nowhere);
                Some((source.ok_or(StackError::NetUnreachable)?, peer))
            }
        };
        self.udp_rank(port);
        Ok(())
    }

    /// An error came for what was sent from `local` to `remote`: a connected socket is told.
    pub(super) fn udp_error(&mut self, local: SocketAddr, remote: SocketAddr, error: StackError) {
        let Some(ids) = self.ports.bound.get(&local.port()).cloned() else { return };
        for id in ids {
            if let Some(udp) = self.sockets.udp(id)
                && udp.peer == Some((local.ip(), remote))
            {
                udp.error = Some(error);
                self.notify_udp(id);
            }
        }
    }

    /// The peer of a connected socket can't be reached.
    pub(super) fn udp_unreachable(&mut self, id: SocketId, error: StackError) {
        if let Some(udp) = self.sockets.udp(id) {
            udp.error = Some(error);
            self.notify_udp(id);
        }
    }

    /// Whether a datagram or an error waits to be received.
    pub(super) fn udp_waits(&self, id: SocketId) -> bool {
        matches!(self.sockets.get(id),
            Some(Socket::Udp(udp)) if !udp.received.is_empty() || udp.error.is_some())
    }

    fn udp_port(&mut self) -> Option<u16> {
        let count = u64::from(EPHEMERAL.end() - EPHEMERAL.start()) + 1;
        (0..count)
            .map(|i| ephemeral(u64::from(self.ports.next) + i))
            .find(|port| !self.ports.bound.contains_key(port))
            .inspect(|port| self.ports.next = port.wrapping_sub(*EPHEMERAL.start()).wrapping_add(1))
    }

    /// Send `data` to `to`, from the address the socket is bound to or the best for it.
    pub fn udp_send(&mut self, id: SocketId, data: &[u8], to: SocketAddr) -> Result<(), StackError> {
        let udp = self.sockets.udp(id).ok_or(StackError::Closed)?;
        let most = if to.is_ipv4() { 65_535 - 28 } else { 65_535 - 8 };
        if to.port() == 0 || !udp.scope.speaks(to.ip()) {
            return Err(StackError::Invalid);
        }
        if data.len() > most {
            return Err(StackError::TooBig);
        }
        if let Some(error) = udp.error.take() {
            return Err(error);
        }
        if !udp.sendable() {
            udp.want |= ready::WRITE;
            return Err(StackError::WouldBlock);
        }
        let own = udp.scope.one().filter(|address| !address.is_multicast());
        let own = own.or(udp.peer.filter(|&(_, peer)| peer == to).map(|(own, _)| own));
        let source = own.or_else(|| self.addressing.source(to.ip()));
        let source = source.ok_or(StackError::NetUnreachable)?;
        let hop = self.addressing.hop(to.ip());
        if hop == Hop::Nowhere {
            return Err(StackError::NetUnreachable);
        }
        let mut header = Header::new(source, to.ip(), UDP);
        let group = to.ip().is_multicast();
        header.hop_limit = if group { udp.settings.group_hops } else { udp.settings.hops };
        let looped = group && udp.settings.group_loop;
        let from = SocketAddr::new(source, udp.port);
        udp.asked = true;
        udp.to_send_bytes += data.len() + OVERHEAD;
        udp.to_send.push_back((header, to.port(), data.into()));
        self.sockets.touch(id);
        if looped {
            self.udp_loop(from, to, data);
        }
        Ok(())
    }

    /// What was sent to a group is heard here, too.
    fn udp_loop(&mut self, from: SocketAddr, to: SocketAddr, data: &[u8]) {
        for id in self.ports.bound.get(&to.port()).cloned().unwrap_or_default() {
            if let Some(udp) = self.sockets.udp(id)
                && udp.takes(from, to.ip(), true)
            {
                udp.receive(from, to.ip(), data);
                self.notify_udp(id);
            }
        }
    }

    /// The next datagram that came.
    pub fn udp_recv(&mut self, id: SocketId) -> Result<Datagram, StackError> {
        let udp = self.sockets.udp(id).ok_or(StackError::Closed)?;
        if let Some(error) = udp.error.take() {
            return Err(error);
        }
        match udp.received.pop_front() {
            Some(datagram) => {
                udp.received_bytes -= datagram.2.len() + OVERHEAD;
                Ok(datagram)
            }
            None => {
                udp.want |= ready::READ;
                Err(StackError::WouldBlock)
            }
        }
    }

    /// Have datagrams to `group` received, too.
    pub fn udp_join(&mut self, id: SocketId, group: IpAddr) -> Result<(), StackError> {
        let full = self.multicast.len() >= GROUPS_MAX && !self.multicast.has(group);
        let udp = self.sockets.udp(id).ok_or(StackError::Closed)?;
        if !group.is_multicast() {
            return Err(StackError::Invalid);
        }
        if full {
            return Err(StackError::TooMany);
        }
        if !udp.groups.contains(&group) {
            udp.groups.push(group);
            self.join(group);
        }
        Ok(())
    }

    pub fn udp_leave(&mut self, id: SocketId, group: IpAddr) -> Result<(), StackError> {
        let udp = self.sockets.udp(id).ok_or(StackError::Closed)?;
        let at = udp.groups.iter().position(|joined| *joined == group);
        udp.groups.swap_remove(at.ok_or(StackError::Invalid)?);
        self.leave(group);
        Ok(())
    }

    pub(super) fn udp_close(&mut self, id: SocketId, udp: &Udp) {
        for &group in &udp.groups {
            self.leave(group);
        }
        if let Some(ids) = self.ports.bound.get_mut(&udp.port) {
            ids.retain(|&other| other != id);
            if ids.is_empty() {
                self.ports.bound.remove(&udp.port);
            }
        }
    }

    pub fn udp_lost(&mut self, id: SocketId) -> Result<u64, StackError> {
        Ok(self.sockets.udp(id).ok_or(StackError::Closed)?.lost)
    }

    pub(super) fn serve_udp(&mut self, id: SocketId, out: &mut Outbox<'_>) {
        while out.roomy()
            && let Some(udp) = self.sockets.udp(id)
            && let Some((header, to, data)) = udp.to_send.pop_front()
        {
            udp.to_send_bytes -= data.len() + OVERHEAD;
            let from = udp.port;
            let len = 8 + data.len();
            let base = pseudo(header.src, header.dst, UDP, len);
            self.send(out, header, len, |datagram| {
                datagram[..2].copy_from_slice(&from.to_be_bytes());
                datagram[2..4].copy_from_slice(&to.to_be_bytes());
                datagram[4..6].copy_from_slice(&(len as u16).to_be_bytes());
                datagram[6..8].fill(0);
                datagram[8..].copy_from_slice(&data);
                let check = checksum::finish_nonzero(base + sum(datagram));
                datagram[6..8].copy_from_slice(&check);
            });
        }
        if self.sockets.udp(id).is_some_and(|udp| !udp.to_send.is_empty()) {
            self.sockets.touch(id);
        }
        self.notify_udp(id);
    }
}

impl Udp {
    fn receive(&mut self, from: SocketAddr, to: IpAddr, data: &[u8]) {
        self.asked = false;
        if self.received_bytes + data.len() + OVERHEAD > QUEUE_BYTES {
            self.lost += 1;
            return;
        }
        self.received_bytes += data.len() + OVERHEAD;
        self.received.push_back((from, to, data.into()));
    }
}
