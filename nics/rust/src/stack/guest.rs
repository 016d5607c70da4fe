//! The guest itself: frames and a time in, frames out. It does no I/O and knows no clock.

use super::StackConfig;
use super::address::{Addressing, Class, Hop};
use super::fragment::{self, Reassembly};
use super::icmp::Icmp;
use super::inbox::Inbox;
use super::multicast::Multicast;
use super::neighbour::{Neighbours, Way};
use super::outbox::{Outbox, Waiting};
use super::packet::{self, ETH, Header, Mac, Packet, write_ethernet};
use super::raw::Raws;
use super::sockets::{SocketId, Sockets};
use super::tcp::Tcp;
use super::udp::Ports;
use crate::offload::Offload;
use std::collections::VecDeque;
use std::net::IpAddr;
use switch::Nanos;

/// Frames looked at in one turn; the rest waits for the next, so that no guest delays the others.
const INPUT_MAX: usize = 256;
/// Packets that the guest sent to itself and has not looked at yet.
const LOOPBACK_MAX: usize = 1024;

/// Numbers that follow from the guest's seed alone (SplitMix64).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// One of `0..n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}

pub struct Guest {
    /// The time of the last turn. What the far end does between turns must not measure by it.
    pub now: Nanos,
    /// The port is gone, and nothing will ever come or leave again.
    pub closed: bool,
    pub link: bool,
    pub addressing: Addressing,
    pub neighbours: Neighbours,
    pub multicast: Multicast,
    pub icmp: Icmp,
    pub sockets: Sockets,
    pub ports: Ports,
    pub raws: Raws,
    pub tcp: Tcp,
    pub random: Random,
    /// One clear line, when there is something a person should know.
    pub log: Option<String>,
    /// The socket whose packet is being worked on.
    pub current: Option<SocketId>,
    pub(super) conflict_told: bool,
    pub(super) announcing: bool,
    reassembly: Reassembly,
    waiting: Waiting,
    loopback: VecDeque<(Box<[u8]>, Offload)>,
    fragment_id: u32,
}

impl Guest {
    pub fn new(config: &StackConfig) -> Self {
        let mut random = Random(config.seed);
        let nets = config.addresses.clone();
        let addressing = Addressing::new(config.mac, config.mtu as usize, nets, config.gateways.clone());
        let mut guest = Guest {
            now: 0,
            closed: false,
            link: true,
            neighbours: Neighbours::default(),
            multicast: Multicast::default(),
            icmp: Icmp::default(),
            sockets: Sockets::new(config.sockets),
            ports: Ports::new(&mut random),
            raws: Raws::default(),
            tcp: Tcp::new(config, &mut random),
            log: None,
            current: None,
            conflict_told: false,
            announcing: false,
            reassembly: Reassembly::default(),
            waiting: Waiting::default(),
            loopback: VecDeque::new(),
            fragment_id: random.next() as u32,
            addressing,
            random,
        };
        guest.join_solicited_nodes();
        guest
    }

    /// One turn: look at frames that came, let everybody speak whose time has come, fill the burst.
    /// Returns whether there is more to do at once.
    pub fn run(&mut self, now: Nanos, inbox: &mut Inbox, out: &mut Outbox<'_>) -> bool {
        self.now = self.now.max(now);
        self.waiting.drain(out);
        self.reassembly.tick(self.now);
        self.tcp.lingering.expire(self.now);
        self.sockets.tick(self.now);
        self.tick_neighbours(out);
        self.tick_announcement(out);
        self.tick_multicast(out);
        for _ in 0..INPUT_MAX {
            if !out.roomy() {
                break;
            }
            if let Some((bytes, offload)) = self.loopback.pop_front() {
                self.packet_in(&bytes, None, offload, out);
            } else if let Some((frame, offload)) = inbox.pop() {
                self.frame_in(frame, offload, out);
            } else {
                break;
            }
        }
        inbox.rewind(self.now);
        for _ in 0..self.sockets.busy_len() {
            if !out.roomy() {
                break;
            }
            let Some(id) = self.sockets.next_busy() else { break };
            self.serve(id, out);
        }
        self.current = None;
        !inbox.is_empty() || !self.loopback.is_empty() || self.sockets.busy() || !self.waiting.is_empty()
    }

    /// When `run` wants to be called again, if nothing comes before.
    pub fn deadline(&self) -> Option<Nanos> {
        let parts = [
            self.sockets.deadline(),
            self.neighbours.deadline(),
            self.reassembly.deadline(),
            self.multicast.deadline(),
            self.tcp.lingering.deadline(),
        ];
        parts.into_iter().flatten().min()
    }

    fn frame_in(&mut self, frame: &[u8], offload: Offload, out: &mut Outbox<'_>) {
        if self.raws.any() {
            self.raw_in(frame);
        }
        let Some((ethernet, payload)) = frame.split_first_chunk::<ETH>() else { return };
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *ethernet;
        let (dst, src) = ([d0, d1, d2, d3, d4, d5], [s0, s1, s2, s3, s4, s5]);
        if dst[0] & 1 == 0 && dst != self.addressing.mac || src[0] & 1 != 0 {
            return;
        }
        match [t0, t1] {
            [0x08, 0x06] => self.arp_in(payload, out),
            [0x08, 0x00] | [0x86, 0xdd] => self.packet_in(payload, Some((src, dst)), offload, out),
            _ => {}
        }
    }

    /// An IP packet came, from the link (with the frame's addresses) or from the guest itself.
    fn packet_in(&mut self, bytes: &[u8], link: Option<(Mac, Mac)>, offload: Offload, out: &mut Outbox<'_>) {
        let Some(packet) = Packet::parse(bytes) else { return };
        let to_group = match self.addressing.class(packet.dst) {
            Class::Own => false,
            Class::Broadcast => true,
            Class::Multicast if self.multicast.has(packet.dst) => true,
            Class::Multicast | Class::Elsewhere => return,
        };
        if let Some((src, dst)) = link {
            // A unicast packet in a group frame is an old trick (RFC 1122, 3.3.6); loopback
            // addresses never stand on a wire, nor do our own as a source, nor a group's.
            if dst[0] & 1 != 0 && !to_group
                || packet.src.is_loopback()
                || packet.dst.is_loopback()
                || self.addressing.class(packet.src) != Class::Elsewhere
            {
                return;
            }
            if !to_group && let Hop::Neighbour(by) = self.addressing.hop(packet.src) {
                self.neighbours.heard(by, src, self.now);
            }
        }
        match packet.piece {
            None => self.transport_in(&packet, to_group, offload, out),
            Some(piece) => {
                let whole = self.reassembly.add(&packet, piece, self.now);
                if let Some(whole) = whole
                    && let Some(packet) = Packet::parse(&whole)
                    && packet.piece.is_none()
                {
                    self.transport_in(&packet, to_group, Offload::NONE, out);
                }
            }
        }
    }

    fn transport_in(&mut self, packet: &Packet<'_>, to_group: bool, offload: Offload, out: &mut Outbox<'_>) {
        // Within one machine checksums are for later; what came over a wire must be right.
        let verified = offload.flags & (Offload::NEEDS_CSUM | Offload::DATA_VALID) != 0;
        match packet.proto {
            packet::TCP if !to_group => self.tcp_in(packet, verified, out),
            packet::UDP => self.udp_in(packet, to_group, verified, offload, out),
            packet::ICMP if packet.src.is_ipv4() => self.icmp_in(packet, to_group, out),
            packet::ICMPV6 if packet.src.is_ipv6() => self.icmpv6_in(packet, to_group, out),
            packet::IGMP if packet.src.is_ipv4() => self.igmp_in(packet),
            packet::TCP => {}
            _ if !to_group => self.refuse_protocol(packet, out),
            _ => {}
        }
    }

    /// Send a packet whose payload of `len` bytes `fill` writes.
    pub fn send(&mut self, out: &mut Outbox<'_>, header: Header, len: usize, fill: impl FnOnce(&mut [u8])) {
        let room = header.len();
        // An IPv4 packet counts its header in, an IPv6 packet does not.
        let most = if header.dst.is_ipv4() { 65_535 - room } else { 65_535 };
        if header.src.is_ipv4() != header.dst.is_ipv4() || len > most {
            return;
        }
        let Some(draft) = out.draft(room + len) else { return };
        fill(&mut draft[room..]);
        header.write(draft);
        self.transmit(out, room + len, Offload::NONE);
    }

    /// Send the outbox's draft, an IP packet of `len` bytes, on its way.
    pub fn transmit(&mut self, out: &mut Outbox<'_>, len: usize, offload: Offload) {
        let Some(bytes) = out.draft(len) else { return };
        let Some(dst) = destination(bytes) else { return };
        match self.addressing.hop(dst) {
            Hop::Own => {
                if self.loopback.len() < LOOPBACK_MAX {
                    // It never left, so nothing can have happened to it.
                    let offload = Offload { flags: Offload::DATA_VALID, ..Offload::NONE };
                    self.loopback.push_back((Box::from(&*bytes), offload));
                }
            }
            Hop::Group(mac) => self.launch(out, len, mac, offload),
            Hop::Neighbour(hop) => match self.neighbours.way(hop, self.now) {
                Way::To(mac) => self.launch(out, len, mac, offload),
                Way::AskAlso(mac) => {
                    self.launch(out, len, mac, offload);
                    self.ask(hop, Some(mac), out);
                }
                Way::Ask => {
                    self.neighbours.park(hop, bytes, offload);
                    self.ask(hop, None, out);
                }
                Way::Wait => self.neighbours.park(hop, bytes, offload),
                Way::Full => {}
            },
            Hop::Nowhere => {}
        }
    }

    /// Send packets that waited for a neighbour.
    pub fn release(&mut self, parked: Vec<(Box<[u8]>, Offload)>, out: &mut Outbox<'_>) {
        for (packet, offload) in parked {
            if let Some(draft) = out.draft(packet.len()) {
                draft.copy_from_slice(&packet);
                self.transmit(out, packet.len(), offload);
            }
        }
    }

    /// Make the draft a frame to `mac`, or several when it is longer than the link allows.
    fn launch(&mut self, out: &mut Outbox<'_>, len: usize, mac: Mac, offload: Offload) {
        if !self.link {
            return;
        }
        let ours = self.addressing.mac;
        let Some((frame, rest)) = out.framed(len) else { return };
        if len > self.addressing.mtu && offload.gso_type == Offload::GSO_NONE {
            self.fragment_id = self.fragment_id.wrapping_add(1);
            let mut frames = Vec::new();
            let (mtu, id) = (self.addressing.mtu, self.fragment_id);
            fragment::fragment(&frame[ETH..], mtu, id, (ours, mac), rest, |piece| {
                frames.push(Box::from(piece))
            });
            for frame in frames {
                self.launch_frame(out, frame);
            }
            return;
        }
        let v4 = frame[ETH] >> 4 == 4;
        write_ethernet(frame, ours, mac, v4);
        if let Some(frame) = out.commit(ETH + len, offload) {
            self.waiting.push(frame, offload);
        }
    }

    /// Send a whole frame.
    pub fn launch_frame(&mut self, out: &mut Outbox<'_>, frame: Box<[u8]>) {
        if self.link && (!self.waiting.is_empty() || !out.push(&frame, Offload::NONE)) {
            self.waiting.push(frame, Offload::NONE);
        }
    }

    /// A turn panicked: the connection that was being worked on is given up.
    pub fn recover(&mut self) {
        self.log = Some("an internal error ended one of this guest's connections; please report it".into());
        if let Some(id) = self.current.take() {
            self.condemn(id);
        }
    }

    /// The link came up again, perhaps elsewhere: others are told, and asked anew.
    pub fn set_link(&mut self, up: bool) {
        if self.link != up {
            self.link = up;
            self.neighbours.flush();
            if up {
                self.announcing = true;
            }
        }
    }
}

/// The destination of an IP packet that was made here.
fn destination(packet: &[u8]) -> Option<IpAddr> {
    if packet.first()? >> 4 == 4 {
        Some(IpAddr::from(*packet.get(16..)?.first_chunk::<4>()?))
    } else {
        Some(IpAddr::from(*packet.get(24..)?.first_chunk::<16>()?))
    }
}
