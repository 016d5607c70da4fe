//! Security groups: who may begin to talk to a guest and whom it may begin to talk to. Stateful:
//! what belongs to a connection that was allowed needs no rule.
//!
//! Words are those of clouds: *egress* is from the guest into the fabric, *ingress* to the guest. A
//! frame between two guests is judged at both ends. It is looked up once, in a table that all ports
//! of a switch share (`table.rs`), and each end has its own verdict in the connection: the *stamp* of
//! the port and of the rules that allowed it there. When rules change the port has another stamp,
//! and the connection's next packet is judged again, as if it were the first, by the new rules: it
//! goes on, or it is cut, and there is nothing in between and nothing to walk through.
//!
//! What passes without a rule: ARP, neighbour discovery, DHCP's client side and membership of
//! multicast groups, all of which the guard judges; replies; ICMP errors about what is on its way.
//! Multicast and broadcast are judged packet by packet: nobody can say who will answer. What is no IP
//! does not pass.
//!
//! In reading order: `rules.rs` (what is allowed), `packet.rs` (what a frame says), `tcp.rs`,
//! `table.rs` (connections), `quick.rs` (the short way of most packets), `fragments.rs`, `denied.rs`
//! (lines for people).

mod denied;
mod fragments;
mod packet;
mod quick;
mod rules;
mod table;
mod tcp;

pub(crate) use quick::{BURST, Short};
pub use rules::{Groups, Rule};

use crate::parse::is_group;
use crate::{Decision, DropReason, Nanos, Out, PortConfig, PortId, View, VlanId};
use denied::{Denied, address, protocol};
use fragments::Fragments;
use packet::{Kind, Packet, Read};
use quick::Ready;
use std::net::IpAddr;
use table::{Birth, Conn, State, Table, coarse};

/// What the groups of both ends said about a frame so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Nobody was asked: neither end has groups, or only the one it goes to, which is not known yet.
    Not,
    /// The end it came from lets it pass.
    Left,
    /// Both do.
    Both,
    /// The end it goes to does not, for this reason.
    Refused(DropReason),
}

/// A port's groups, as a frame that passes it meets them.
#[derive(Clone, Copy)]
pub(crate) struct Gate<'a> {
    pub(crate) port: PortId,
    /// Names the port and this version of its rules; never 0.
    pub(crate) stamp: u32,
    pub(crate) groups: &'a Groups,
}

impl<'a> Gate<'a> {
    /// The gate of a port; `None` where everything passes.
    #[inline]
    pub(crate) fn of(port: PortId, stamp: u32, config: &'a PortConfig) -> Option<Gate<'a>> {
        if stamp == 0 {
            return None;
        }
        config.groups.as_deref().map(|groups| Gate { port, stamp, groups })
    }
}

/// Who pays for a connection that begins: a port, and how many it may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payer {
    pub(crate) port: PortId,
    pub(crate) limit: u32,
}

/// A frame on its way: where it came in, and what it looks like.
pub(crate) struct Frame<'a, 'b> {
    pub(crate) now: Nanos,
    pub(crate) ingress: PortId,
    pub(crate) vlan: VlanId,
    pub(crate) dst: u64,
    /// Tags that it came with.
    pub(crate) tags: u8,
    pub(crate) view: &'a View<'b>,
    /// An earlier look has told the connection of it already.
    pub(crate) again: bool,
}

/// Which end refuses a frame, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The one it comes from.
    Leaving(DropReason),
    /// The one it goes to.
    Entering(DropReason),
}

/// What can be wrong with a packet, whoever finds it.
#[derive(Clone, Copy)]
enum Wrong {
    Invalid,
    Fragment,
    Full,
}

/// One connection, for people.
#[derive(Clone, Debug)]
pub struct Connection {
    pub vlan: VlanId,
    pub protocol: String,
    /// Who began it, address and port; of ICMP the port is the identifier.
    pub source: (IpAddr, u16),
    pub target: (IpAddr, u16),
    pub state: &'static str,
    /// Since its first packet, since its last, and until it will be forgotten.
    pub age: Nanos,
    pub idle: Nanos,
    pub expires: Nanos,
    /// The port that it counts for.
    pub owner: PortId,
}

/// The connections of a switch.
#[derive(Debug)]
pub(crate) struct Tracker {
    table: Table,
    fragments: Fragments,
    denied: Denied,
    ready: Box<Ready>,
    /// By port number: how often its rules were set.
    versions: Vec<u32>,
    /// By port number: where its last packet's connection is.
    hints: Vec<u32>,
    /// Ports that have groups.
    gates: u32,
    /// Of the latest burst that passed any.
    now: Nanos,
}

/// Bits of a stamp that are the version; those above are one more than the port, so that 0 is nobody's.
const VERSION: u32 = 19;

impl Tracker {
    pub(crate) fn new(limit: u32, seed: [u64; 2]) -> Tracker {
        Tracker {
            table: Table::new(limit, seed),
            fragments: Fragments::default(),
            denied: Denied::new(),
            ready: Box::new(Ready::new()),
            versions: vec![],
            hints: vec![],
            gates: 0,
            now: 0,
        }
    }

    /// The time of the latest burst.
    #[inline]
    pub(crate) fn now(&self) -> Nanos {
        self.now
    }

    /// A burst comes in: itself, if any port has groups.
    #[inline]
    pub(crate) fn watch(&mut self, now: Nanos) -> Option<&mut Tracker> {
        if self.gates == 0 {
            return None;
        }
        self.now = now;
        Some(self)
    }

    // -- what an operator does ---------------------------------------------------------------------

    /// Have another limit for all connections. Those that are there stay.
    pub(crate) fn set_limit(&mut self, limit: u32) {
        self.table.set_limit(limit);
    }

    /// A stamp that a port never had; 0 for one that has no groups. `had`: whether it had some.
    pub(crate) fn stamp(&mut self, port: PortId, had: bool, has: bool) -> u32 {
        self.gates = self.gates + u32::from(has) - u32::from(had);
        let at = usize::from(port);
        if at >= self.versions.len() {
            self.versions.resize(at + 1, 0);
            self.hints.resize(at + 1, u32::MAX);
        }
        let Some(version) = self.versions.get_mut(at).filter(|_| has) else { return 0 };
        *version = *version % ((1 << VERSION) - 1) + 1;
        (u32::from(port) + 1) << VERSION | *version
    }

    /// A port is gone, and what it pays for.
    pub(crate) fn forget(&mut self, port: PortId) {
        self.table.disown(port);
        self.fragments.forget(port);
    }

    pub(crate) fn tick(&mut self, now: Nanos) {
        self.table.tick(now);
    }

    pub(crate) fn deadline(&self) -> Option<Nanos> {
        self.table.deadline()
    }

    /// Lines about what was denied, with the port whose rules did it.
    #[inline]
    pub(crate) fn denied(&mut self) -> Vec<(PortId, String)> {
        if self.denied.any() { self.denied.take() } else { vec![] }
    }

    /// (of all, of one port)
    pub(crate) fn count(&self, port: PortId) -> (u32, u32) {
        (self.table.len(), self.table.owned(port))
    }

    pub(crate) fn memory(&self) -> usize {
        let numbers = self.versions.capacity() + self.hints.capacity();
        self.table.memory() + self.fragments.memory() + numbers * size_of::<u32>()
    }

    /// A page of connections, and the cursor of the next.
    pub(crate) fn page(
        &self,
        now: Nanos,
        cursor: usize,
        limit: usize,
        page: &mut Vec<Connection>,
    ) -> Option<usize> {
        let time = coarse(now);
        let (conns, next) = self.table.page(cursor, limit);
        page.extend(conns.filter(|conn| !Table::is_old(conn, time)).map(|conn| describe(conn, time)));
        next
    }

    // -- for a twin --------------------------------------------------------------------------------

    /// A tracker that knows of no connection, but how many there are: see `twin.rs`.
    pub(crate) fn sketch(&self) -> Tracker {
        Tracker {
            table: self.table.sketch(),
            fragments: Fragments::default(),
            denied: Denied::new(),
            ready: Box::new(Ready::new()),
            versions: vec![],
            hints: vec![],
            ..*self
        }
    }

    /// What makes room for a port's next connection there.
    pub(crate) fn bring_payer(&mut self, from: &Tracker, port: PortId) {
        self.table.bring_payer(&from.table, port);
    }

    /// What is known there of the connection that a frame belongs to, or is about.
    pub(crate) fn bring_frame(
        &mut self,
        from: &Tracker,
        now: Nanos,
        (ingress, vlan, tags): (PortId, VlanId, u8),
        view: &View<'_>,
    ) {
        if from.gates == 0 {
            return;
        }
        self.fragments.bring(&from.fragments, ingress);
        let Read::Ip(packet) = packet::read(view, 12 + 4 * usize::from(tags), vlan) else { return };
        let known = from.fragments.belongs(now, ingress, &packet);
        for packet in [Some(packet), known].into_iter().flatten() {
            self.table.bring(&from.table, &packet.key);
            if let Kind::Error { key, .. } = packet.kind {
                self.table.bring(&from.table, &key);
            }
        }
    }

    // -- the short way ---------------------------------------------------------------------------

    /// Look up at most `BURST` frames at once that came in by a port whose untagged frames are in `vlan`.
    /// Which are between the same ends as the one before, by number from the lowest bit on.
    #[inline]
    pub(crate) fn bring(&mut self, views: &[View<'_>], vlan: VlanId) -> u64 {
        self.ready.bring(&self.table, views, vlan)
    }

    /// Whether this frame, of a connection known to both gates, passes them without more ado; where
    /// `source` is given, from there.
    #[inline]
    pub(crate) fn passes(
        &mut self,
        number: usize,
        view: &View<'_>,
        source: Option<u32>,
        stamps: (u32, u32),
    ) -> Short {
        self.ready.passes(&mut self.table, number, view, source, stamps, coarse(self.now))
    }

    // -- what a frame does -------------------------------------------------------------------------

    /// Judge a frame at the gates that it passes: where it comes from, where it goes to.
    #[inline]
    pub(crate) fn judge(
        &mut self,
        frame: &Frame<'_, '_>,
        from: Option<Gate<'_>>,
        to: Option<Gate<'_>>,
        payer: Payer,
    ) -> Result<(), Refusal> {
        let at = 12 + 4 * usize::from(frame.tags);
        let mut packet = match packet::read(frame.view, at, frame.vlan) {
            Read::Ip(packet) => packet,
            other => return self.judge_other(frame, other, from, to),
        };
        if let Kind::Later = packet.kind {
            match self.fragments.belongs(frame.now, frame.ingress, &packet) {
                Some(known) => packet = known,
                None => return Err(self.wrong(frame, Wrong::Fragment, from, to, &packet)),
            }
        }
        match packet.kind {
            Kind::Alone | Kind::Error { .. } => return self.judge_alone(frame, &packet, from, to),
            _ if packet.must_send || packet.must_hear || is_group(frame.dst) => {
                return self.judge_alone(frame, &packet, from, to);
            }
            _ => {}
        }
        let mut hint = self.hints.get(usize::from(frame.ingress)).copied().unwrap_or(u32::MAX);
        let found = self.table.find(&packet.key, &mut hint);
        if let Some(at) = found
            && let Some(conn) = self.table.get_mut(at)
            && !Table::is_old(conn, coarse(frame.now))
        {
            if let Some(kept) = self.hints.get_mut(usize::from(frame.ingress)) {
                *kept = hint;
            }
            return self.judge_known(frame, &packet, at, from, to, payer);
        }
        if let Some(at) = found {
            self.table.remove(at);
        }
        self.judge_new(frame, &packet, from, to, payer)
    }

    /// A packet of a connection that is there.
    #[inline]
    fn judge_known(
        &mut self,
        frame: &Frame<'_, '_>,
        packet: &Packet,
        at: u32,
        from: Option<Gate<'_>>,
        to: Option<Gate<'_>>,
        payer: Payer,
    ) -> Result<(), Refusal> {
        let Some(conn) = self.table.get_mut(at) else { return Ok(()) };
        let (near, far) = (packet.from & 1, packet.from & 1 ^ 1);
        let fits =
            |gate: &Option<Gate<'_>>, end: usize| gate.is_none_or(|gate| gate.stamp == conn.allowed[end]);
        if !(fits(&from, near) && fits(&to, far)) {
            self.judge_again(frame, packet, at, from, to)?;
        }
        let Some(conn) = self.table.get_mut(at) else { return Ok(()) };
        let origin = usize::from(conn.origin);
        let mut answers = near != origin;
        if let Kind::Tcp(segment) = &packet.kind
            && let State::Tcp(state) = conn.state
            && !frame.again
        {
            match tcp::step(&mut conn.halves, state, origin, near, segment) {
                tcp::Step::Good(state) => {
                    conn.state = State::Tcp(state);
                    // A handshake that is not complete is not worth more than the next one.
                    answers = state == tcp::State::Established;
                }
                tcp::Step::Anew => {
                    self.table.remove(at);
                    return self.judge_new(frame, packet, from, to, payer);
                }
                tcp::Step::Bad => return Err(self.wrong(frame, Wrong::Invalid, from, to, packet)),
            }
        } else if answers && conn.state == State::New {
            conn.state = State::Answered;
        }
        conn.heard = coarse(frame.now);
        if answers {
            self.table.answer(at);
        }
        if let (Some(id), true) = (packet.fragment, packet.kind != Kind::Later) {
            self.fragments.begin(frame.now, frame.ingress, packet, id);
        }
        Ok(())
    }

    /// A packet of a connection that these gates have not judged, or by other rules: by the connection's
    /// first packet. What its own gate does not allow any more is cut.
    #[inline(never)]
    fn judge_again(
        &mut self,
        frame: &Frame<'_, '_>,
        packet: &Packet,
        at: u32,
        from: Option<Gate<'_>>,
        to: Option<Gate<'_>>,
    ) -> Result<(), Refusal> {
        let (near, far) = (packet.from & 1, packet.from & 1 ^ 1);
        for (gate, end, leaving) in [(from, near, true), (to, far, false)] {
            let Some(gate) = gate else { continue };
            let allowed = self.allows(&gate, at, end);
            let Some(conn) = self.table.get_mut(at) else { continue };
            if allowed {
                conn.allowed[end & 1] = gate.stamp;
                continue;
            }
            if conn.allowed[end & 1] >> VERSION == gate.stamp >> VERSION {
                self.table.remove(at);
            }
            return Err(self.refuse(frame, leaving, gate, Some(packet)));
        }
        Ok(())
    }

    /// Whether the rules of a gate allow a connection to begin as it did, the gate being at this end.
    fn allows(&self, gate: &Gate<'_>, at: u32, end: usize) -> bool {
        let Some(conn) = self.table.get(at) else { return false };
        if conn.allowed[end & 1] == gate.stamp {
            return true;
        }
        let (v6, proto, vlan, both) = packet::ends(&conn.key);
        let remote = both[end & 1 ^ 1].0;
        let rules = if end == usize::from(conn.origin) { &gate.groups.egress } else { &gate.groups.ingress };
        rules.allow(&rules::Ask { v6, proto, number: conn.number, remote, vlan })
    }

    /// A packet of no connection that is known.
    #[inline(never)]
    fn judge_new(
        &mut self,
        frame: &Frame<'_, '_>,
        packet: &Packet,
        from: Option<Gate<'_>>,
        to: Option<Gate<'_>>,
        payer: Payer,
    ) -> Result<(), Refusal> {
        self.by_rules(frame, packet, from, to)?;
        let state = match packet.kind {
            Kind::Tcp(segment) if tcp::begins(&segment) => State::Tcp(tcp::State::SynSent),
            Kind::Query => State::Query,
            Kind::Plain => State::New,
            _ => return Err(self.wrong(frame, Wrong::Invalid, from, to, packet)),
        };
        if packet.is_to_itself() {
            return Err(self.wrong(frame, Wrong::Invalid, from, to, packet));
        }
        let mut allowed = [0; 2];
        allowed[packet.from & 1] = from.map_or(0, |gate| gate.stamp);
        allowed[packet.from & 1 ^ 1] = to.map_or(0, |gate| gate.stamp);
        let halves = match &packet.kind {
            Kind::Tcp(segment) => tcp::begin(packet.from, segment),
            _ => Default::default(),
        };
        let birth = Birth {
            key: packet.key,
            origin: packet.from & 1,
            state,
            halves,
            number: packet.number,
            allowed,
            owner: payer.port,
            limit: payer.limit,
        };
        if self.table.add(coarse(frame.now), &birth).is_none() {
            return Err(self.wrong(frame, Wrong::Full, from, to, packet));
        }
        if let Some(id) = packet.fragment {
            self.fragments.begin(frame.now, frame.ingress, packet, id);
        }
        Ok(())
    }

    /// A packet that is judged by itself: ICMP that is no query, groups of hosts, what hosts must say.
    #[inline(never)]
    fn judge_alone(
        &mut self,
        frame: &Frame<'_, '_>,
        packet: &Packet,
        from: Option<Gate<'_>>,
        to: Option<Gate<'_>>,
    ) -> Result<(), Refusal> {
        let (mut from_left, mut to_left) = (from, to);
        if let Kind::Error { key, from: end, seq } = packet.kind
            && let Some(at) = self.table.find(&key, &mut u32::MAX.clone())
            && self.is_live(frame.now, at, end & 1, seq)
        {
            from_left = from.filter(|gate| !self.allows(gate, at, end & 1 ^ 1));
            to_left = to.filter(|gate| !self.allows(gate, at, end & 1));
        }
        if packet.must_send {
            from_left = None;
        }
        if packet.must_hear {
            to_left = None;
        }
        self.by_rules(frame, packet, from_left, to_left)?;
        if let (Some(id), true) = (packet.fragment, packet.kind != Kind::Later) {
            self.fragments.begin(frame.now, frame.ingress, packet, id);
        }
        Ok(())
    }

    /// Whether an error can be about a packet that the end `end` of a connection has sent.
    fn is_live(&self, now: Nanos, at: u32, end: usize, seq: Option<u32>) -> bool {
        let Some(conn) = self.table.get(at).filter(|conn| !Table::is_old(conn, coarse(now))) else {
            return false;
        };
        match (conn.state, seq) {
            (State::Tcp(_), Some(seq)) => {
                tcp::is_on_its_way(&conn.halves[end & 1], &conn.halves[end & 1 ^ 1], seq)
            }
            (State::Tcp(_), None) => false,
            _ => true,
        }
    }

    /// By the rules alone.
    fn by_rules(
        &mut self,
        frame: &Frame<'_, '_>,
        packet: &Packet,
        from: Option<Gate<'_>>,
        to: Option<Gate<'_>>,
    ) -> Result<(), Refusal> {
        if let Some(gate) = from
            && !gate.groups.egress.allow(&packet.ask(packet.target))
        {
            return Err(self.refuse(frame, true, gate, Some(packet)));
        }
        if let Some(gate) = to
            && !gate.groups.ingress.allow(&packet.ask(packet.source))
        {
            return Err(self.refuse(frame, false, gate, Some(packet)));
        }
        Ok(())
    }

    /// A frame that is no IP, or none that can be read.
    #[cold]
    fn judge_other(
        &mut self,
        frame: &Frame<'_, '_>,
        read: Read,
        from: Option<Gate<'_>>,
        to: Option<Gate<'_>>,
    ) -> Result<(), Refusal> {
        match (read, from, to) {
            (Read::Arp, _, _) | (_, None, None) => Ok(()),
            (Read::Bad, Some(gate), _) => {
                Err(self.tell(frame, gate, Refusal::Leaving(DropReason::GroupInvalid), None))
            }
            (Read::Bad, None, Some(gate)) => {
                Err(self.tell(frame, gate, Refusal::Entering(DropReason::TxGroupInvalid), None))
            }
            (_, Some(gate), _) => Err(self.refuse(frame, true, gate, None)),
            (_, None, Some(gate)) => Err(self.refuse(frame, false, gate, None)),
        }
    }

    /// The rules of a gate allow nothing like it.
    #[cold]
    fn refuse(
        &mut self,
        frame: &Frame<'_, '_>,
        leaving: bool,
        gate: Gate<'_>,
        packet: Option<&Packet>,
    ) -> Refusal {
        let refusal = if leaving {
            Refusal::Leaving(DropReason::GroupEgress)
        } else {
            Refusal::Entering(DropReason::GroupIngress)
        };
        self.tell(frame, gate, refusal, packet)
    }

    /// No rule has to do with it. It counts where it came from, if that has groups.
    #[cold]
    fn wrong(
        &mut self,
        frame: &Frame<'_, '_>,
        wrong: Wrong,
        from: Option<Gate<'_>>,
        to: Option<Gate<'_>>,
        packet: &Packet,
    ) -> Refusal {
        let refusal = match (wrong, from.is_some()) {
            (Wrong::Invalid, true) => Refusal::Leaving(DropReason::GroupInvalid),
            (Wrong::Fragment, true) => Refusal::Leaving(DropReason::GroupFragment),
            (Wrong::Full, true) => Refusal::Leaving(DropReason::GroupFull),
            (Wrong::Invalid, false) => Refusal::Entering(DropReason::TxGroupInvalid),
            (Wrong::Fragment, false) => Refusal::Entering(DropReason::TxGroupFragment),
            (Wrong::Full, false) => Refusal::Entering(DropReason::TxGroupFull),
        };
        match from.or(to) {
            Some(gate) => self.tell(frame, gate, refusal, Some(packet)),
            None => refusal,
        }
    }

    fn tell(
        &mut self,
        frame: &Frame<'_, '_>,
        gate: Gate<'_>,
        refusal: Refusal,
        packet: Option<&Packet>,
    ) -> Refusal {
        // What everybody is told, few ask for: it is counted, and no news.
        if gate.groups.log && !is_group(frame.dst) {
            let (Refusal::Leaving(reason) | Refusal::Entering(reason)) = refusal;
            self.denied.note(frame.now, gate.port, reason, packet);
        }
        refusal
    }
}

/// A connection for people.
fn describe(conn: &Conn, now: u32) -> Connection {
    let (v6, proto, vlan, both) = packet::ends(&conn.key);
    let nanos = |coarse: u32| Nanos::from(coarse) << 20;
    let end = |end: usize| (address(v6, both[end & 1].0), both[end & 1].1);
    let origin = usize::from(conn.origin);
    let idle = now.wrapping_sub(conn.heard);
    let (mut source, mut target) = (end(origin), end(origin ^ 1));
    if conn.state == State::Query {
        // One port is the question's type, and who asked; the other is its identifier.
        (source.1, target.1) = (target.1, target.1);
    }
    Connection {
        vlan,
        protocol: protocol(proto),
        source,
        target,
        state: conn.state.name(),
        age: nanos(now.wrapping_sub(conn.born)),
        idle: nanos(idle),
        expires: nanos(conn.state.lifetime().saturating_sub(idle)),
        owner: Table::owner_of(conn),
    }
}

impl Decision {
    /// The same with what the groups said.
    #[inline]
    pub(crate) fn judged(self, by: Judged) -> Decision {
        Decision { judged: by, ..self }
    }

    /// Where it goes, if there is one port.
    #[inline]
    pub(crate) fn to(&self) -> Option<PortId> {
        if let Out::Port(port) = self.out { Some(port) } else { None }
    }
}
