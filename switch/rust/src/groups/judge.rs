//! What the gates say to a frame: by the connection that it belongs to, or by the rules.

use super::denied::address;
use super::needs::Need;
use super::packet::{self, Key, Kind, Packet, Read};
use super::refuse::{Refusal, Wrong};
use super::table::{Birth, State, coarse};
use super::{Gate, Gates, Payer, Tracker, VERSION, rules, tcp};
use crate::config::PortConfig;
use crate::guard::Memory;
use crate::parse::is_group;
use crate::{DropReason, Nanos, PortId, View, VlanId};

/// A frame on its way: where it came in, and what it looks like.
pub(crate) struct Frame<'a, 'b> {
    pub(crate) now: Nanos,
    pub(crate) ingress: PortId,
    /// On whose account it is: see `account.rs`.
    pub(crate) account: PortId,
    pub(crate) vlan: VlanId,
    pub(crate) dst: u64,
    /// Tags that it came with.
    pub(crate) tags: u8,
    pub(crate) view: &'a View<'b>,
    /// An earlier look has told the connection of it already.
    pub(crate) again: bool,
    /// What its guest is where it came in, and has been given.
    pub(crate) sender: Option<(&'a PortConfig, &'a Memory)>,
}

impl Frame<'_, '_> {
    /// Whether who sent it may speak for one of the ends of a connection: as that end, or as a router on the way to it.
    /// Where there is no guard, as beyond links and uplinks, any router may be.
    fn speaks_for(&self, key: &Key, end: usize) -> bool {
        let (v6, _, vlan, both) = packet::ends(key);
        let ip = address(v6, both[end & 1].0);
        let guarded = self.sender.and_then(|(config, memory)| Some((config.guard.as_ref()?, memory)));
        guarded.is_none_or(|(guard, memory)| guard.speaks_for(memory, vlan, ip))
    }
}

impl Tracker {
    /// Judge a frame at the gates that it passes.
    #[inline]
    pub(crate) fn judge(
        &mut self,
        frame: &Frame<'_, '_>,
        gates: Gates<'_>,
        payer: Payer,
    ) -> Result<(), Refusal> {
        let at = 12 + 4 * usize::from(frame.tags);
        let mut packet = match packet::read(frame.view, at, frame.vlan) {
            Read::Ip(packet) => packet,
            other => return self.judge_other(frame, other, gates),
        };
        if let Kind::Later = packet.kind {
            match self.fragments.belongs(frame.now, frame.account, &packet) {
                Some(known) => packet = known,
                None => return Err(self.wrong(frame, Wrong::Fragment, gates, &packet)),
            }
        }
        match packet.kind {
            Kind::Alone | Kind::Error { .. } => return self.judge_alone(frame, &packet, gates),
            _ if packet.need != Need::Nothing || is_group(frame.dst) => {
                return self.judge_alone(frame, &packet, gates);
            }
            _ => {}
        }
        let mut hint = self.hints.get(usize::from(frame.ingress)).copied().unwrap_or(u32::MAX);
        let found = self.table.find(&packet.key, &mut hint);
        if let Some(at) = found
            && let Some(conn) = self.table.get_mut(at)
            && !conn.is_old(coarse(frame.now))
        {
            if let Some(kept) = self.hints.get_mut(usize::from(frame.ingress)) {
                *kept = hint;
            }
            return self.judge_known(frame, &packet, at, gates, payer);
        }
        self.judge_new(frame, &packet, gates, payer, found)
    }

    /// A packet of a connection that is there.
    #[inline]
    fn judge_known(
        &mut self,
        frame: &Frame<'_, '_>,
        packet: &Packet,
        at: u32,
        gates: Gates<'_>,
        payer: Payer,
    ) -> Result<(), Refusal> {
        let Some(conn) = self.table.get_mut(at) else { return Ok(()) };
        let (near, far) = (packet.from & 1, packet.from & 1 ^ 1);
        let origin = usize::from(conn.origin);
        let fits =
            |gate: Option<Gate<'_>>, end: usize| gate.is_none_or(|gate| gate.stamp == conn.allowed[end]);
        if !(fits(gates.from, near) && fits(gates.to, far)) {
            if far == origin && gates.to.is_some_and(|gate| !conn.began_at(gate.port)) {
                // No answer to its guest: it may be let in as what begins, and then stands for the other one.
                return self.judge_new(frame, packet, gates, payer, Some(at));
            }
            self.judge_again(frame, packet, at, gates)?;
        }
        let Some(conn) = self.table.get_mut(at) else { return Ok(()) };
        let mut answers = near != origin;
        if let Kind::Tcp(segment) = &packet.kind
            && let State::Tcp(state) = conn.state
            && !frame.again
        {
            // Who begins once more comes in where the first packet came in.
            let own = answers || conn.began[0] == frame.ingress;
            let mut nobodys = tcp::Knock::default();
            let knock = if own { &mut conn.knock } else { &mut nobodys };
            match tcp::step(&mut conn.halves, knock, state, origin, near, segment) {
                tcp::Step::Good(state) => {
                    conn.state = State::Tcp(state);
                    // A handshake that is not complete is not worth more than the next one.
                    answers = state == tcp::State::Established;
                }
                tcp::Step::Anew => return self.judge_new(frame, packet, gates, payer, Some(at)),
                tcp::Step::Bad => return Err(self.wrong(frame, Wrong::Invalid, gates, packet)),
            }
        } else if answers && conn.state == State::New {
            conn.state = State::Answered;
        }
        conn.heard = coarse(frame.now);
        self.table.note(at);
        if answers {
            self.table.answer(at);
        }
        self.let_rest_pass(frame, packet);
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
        gates: Gates<'_>,
    ) -> Result<(), Refusal> {
        let (near, far) = (packet.from & 1, packet.from & 1 ^ 1);
        for (gate, end, leaving) in [(gates.from, near, true), (gates.to, far, false)] {
            let Some(gate) = gate else { continue };
            let allowed = self.allows(&gate, at, end, leaving);
            let Some(conn) = self.table.get_mut(at) else { continue };
            if allowed {
                conn.allowed[end & 1] = gate.stamp;
                if leaving && end == usize::from(conn.origin) {
                    conn.begin_at(gate.port);
                }
                continue;
            }
            if conn.allowed[end & 1] >> VERSION == gate.stamp >> VERSION {
                self.table.remove(at);
            }
            return Err(self.refuse(frame, leaving, gate, Some(packet)));
        }
        Ok(())
    }

    /// Whether the rules of a gate allow a connection to begin as it did, the gate being at this end, and a packet
    /// `leaving` or entering by it. Nobody may forge a first packet to have answers let in by the rules of what a guest
    /// may begin: they are let in where something of the end that began came in, whatever address is in there. That is
    /// the port of who began, and those of gateways that sent it on.
    fn allows(&self, gate: &Gate<'_>, at: u32, end: usize, leaving: bool) -> bool {
        let Some(conn) = self.table.get(at) else { return false };
        if conn.allowed[end & 1] == gate.stamp {
            return true;
        }
        let (v6, proto, vlan, both) = packet::ends(&conn.key);
        let remote = both[end & 1 ^ 1].0;
        let began = end == usize::from(conn.origin);
        if began && !leaving && !conn.began_at(gate.port) {
            return false;
        }
        let rules = if began { &gate.groups.egress } else { &gate.groups.ingress };
        rules.allow(&rules::Ask { v6, proto, number: conn.number, remote, vlan })
    }

    /// A packet of no connection that is known, or of one that another begins `instead` of, if it may: otherwise the known
    /// one stays as it is, for anybody may have sent this packet.
    #[inline(never)]
    fn judge_new(
        &mut self,
        frame: &Frame<'_, '_>,
        packet: &Packet,
        gates: Gates<'_>,
        payer: Payer,
        instead: Option<u32>,
    ) -> Result<(), Refusal> {
        self.by_rules(frame, packet, gates)?;
        let state = match packet.kind {
            Kind::Tcp(segment) if tcp::begins(&segment) => State::Tcp(tcp::State::SynSent),
            Kind::Query => State::Query,
            Kind::Plain => State::New,
            _ => return Err(self.wrong(frame, Wrong::Invalid, gates, packet)),
        };
        if packet.is_to_itself() {
            return Err(self.wrong(frame, Wrong::Invalid, gates, packet));
        }
        let mut allowed = [0; 2];
        allowed[packet.from & 1] = gates.from.map_or(0, |gate| gate.stamp);
        allowed[packet.from & 1 ^ 1] = gates.to.map_or(0, |gate| gate.stamp);
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
            began: frame.ingress,
            allowed,
            owner: payer.port,
            limit: payer.limit,
            instead,
        };
        if self.table.add(coarse(frame.now), &birth).is_none() {
            return Err(self.wrong(frame, Wrong::Full, gates, packet));
        }
        self.let_rest_pass(frame, packet);
        Ok(())
    }

    /// A packet that is judged by itself: ICMP that is no query, groups of hosts, what hosts must say.
    #[inline(never)]
    fn judge_alone(
        &mut self,
        frame: &Frame<'_, '_>,
        packet: &Packet,
        gates: Gates<'_>,
    ) -> Result<(), Refusal> {
        let mut left = gates;
        if let Kind::Error { key, from: end, seq } = packet.kind
            && let Some(at) = self.table.find(&key, &mut u32::MAX.clone())
            && self.is_live(frame.now, at, end & 1, seq)
            && frame.speaks_for(&key, end & 1 ^ 1)
        {
            left.from = gates.from.filter(|gate| !self.allows(gate, at, end & 1 ^ 1, true));
            left.to = gates.to.filter(|gate| !self.allows(gate, at, end & 1, false));
        }
        match packet.need {
            Need::Nothing => {}
            Need::Say | Need::AskAll => left.from = None,
            Need::Hear => left.to = None,
            Need::Both => (left.from, left.to) = (None, None),
            Need::Ask => left.from = gates.from.filter(|gate| !gate.learns()),
            Need::Told => {
                left.to = gates.to.filter(|gate| !self.waiting.waits(frame.now, gate.port, packet.v6));
            }
        }
        self.by_rules(frame, packet, left)?;
        if let (Need::Ask | Need::AskAll, Some(gate)) = (packet.need, gates.from) {
            self.waiting.asks(frame.now, gate.port, packet.v6);
        }
        self.let_rest_pass(frame, packet);
        Ok(())
    }

    /// What comes later of its datagram may pass, too.
    #[inline]
    fn let_rest_pass(&mut self, frame: &Frame<'_, '_>, packet: &Packet) {
        if let (Some(id), true) = (packet.fragment, packet.kind != Kind::Later) {
            self.fragments.begin(frame.now, frame.account, packet, id);
        }
    }

    /// Whether an error can be about a packet that the end `end` of a connection has sent.
    fn is_live(&self, now: Nanos, at: u32, end: usize, seq: Option<u32>) -> bool {
        let Some(conn) = self.table.get(at).filter(|conn| !conn.is_old(coarse(now))) else {
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
    fn by_rules(&mut self, frame: &Frame<'_, '_>, packet: &Packet, gates: Gates<'_>) -> Result<(), Refusal> {
        if let Some(gate) = gates.from
            && !gate.groups.egress.allow(&packet.ask(packet.target))
        {
            return Err(self.refuse(frame, true, gate, Some(packet)));
        }
        if let Some(gate) = gates.to
            && !gate.groups.ingress.allow(&packet.ask(packet.source))
        {
            return Err(self.refuse(frame, false, gate, Some(packet)));
        }
        Ok(())
    }

    /// A frame that is no IP, or none that can be read.
    #[cold]
    fn judge_other(&mut self, frame: &Frame<'_, '_>, read: Read, gates: Gates<'_>) -> Result<(), Refusal> {
        match (read, gates.from, gates.to) {
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
}
