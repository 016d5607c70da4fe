//! Flows: who talked to whom and how much, of a sample of the frames (PSAMP's systematic count-based
//! sampling, RFC 5475, 5.1.1: every N-th frame that a switch takes in, dropped or not).
//!
//! Of most bursts all that happens here is a subtraction. A sampled frame is looked at as far as its private
//! head goes and counted with its flow, in a table of fixed size. When that is full, the port that has most
//! flows in it gives up its oldest, which is exported at once: nobody's flood of new flows drives out what
//! another's have counted. What has ended is taken out by `take`, a stretch of the table at a time, so that
//! no call stops the engine for long; what becomes of it (`vnet/flows/`) is no business of this file.

mod packet;
#[cfg(test)]
mod tests;

use nics::Frame;
use nics::context::PORTS_MAX;
use packet::Packet;
use std::collections::{HashMap, VecDeque};
use switch::{Decision, DropReason, Nanos, Out, PortId, VlanId};

/// Places that one call of `take` looks at.
const STRIDE: usize = 8192;
/// Flows that were given up and wait to be taken; beyond that they are lost, and counted.
const WAITING: usize = 4096;

/// What is sampled, and how long flows are counted before they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Every so many frames one is looked at; at least 1.
    pub every: u32,
    /// A flow is told after so long although it goes on ...
    pub active: Nanos,
    /// ... and when it was silent for so long.
    pub idle: Nanos,
    /// Flows at a time, at least 1.
    pub limit: usize,
}

/// What frames of one flow have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub switch: u16,
    pub ingress: PortId,
    /// Where they went; `None`: to several ports, or nowhere.
    pub egress: Option<PortId>,
    pub vlan: VlanId,
    pub dropped: Option<DropReason>,
    /// To or from the switch itself.
    pub consumed: bool,
    pub packet: Packet,
}

/// Why a flow is told (IPFIX's flowEndReason).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum End {
    Idle = 1,
    Active = 2,
    Forced = 4,
    NoRoom = 5,
}

/// One flow, as far as it was sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    pub key: Key,
    pub first: Nanos,
    pub last: Nanos,
    /// As a wire sees them: a super-frame is so many as it is cut into.
    pub packets: u64,
    pub bytes: u64,
    /// Of these, from the IP header on.
    pub octets: u64,
    /// All that were seen, or-ed.
    pub tcp_flags: u16,
    pub end: End,
}

/// What was counted since sampling began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Frames that were looked at.
    pub sampled: u64,
    /// Flows in the table now.
    pub flows: usize,
    /// Flows that had to make room.
    pub evicted: u64,
    /// Flows that nobody took in time.
    pub lost: u64,
}

struct Table {
    settings: Settings,
    places: HashMap<Key, u32>,
    flows: Vec<Option<Flow>>,
    free: Vec<u32>,
    /// By port: its flows' places with when they began, oldest first; some may be gone since.
    order: Vec<VecDeque<(u32, Nanos)>>,
    count: Vec<u32>,
    /// By switch: frames until the next one is looked at.
    left: Vec<u32>,
    hand: usize,
    given_up: VecDeque<Flow>,
    stats: Stats,
}

/// Off, until it is `set`.
#[derive(Default)]
pub struct Flows(Option<Box<Table>>);

impl Flows {
    /// With all the room that it will need; `None`: nothing is sampled.
    #[must_use]
    pub fn new(settings: Option<Settings>) -> Flows {
        Flows(settings.map(|settings| Box::new(Table::new(settings))))
    }

    /// All that was counted, as ended.
    #[must_use]
    pub fn end(self) -> Vec<Flow> {
        self.0.map_or(vec![], |mut table| table.end_all())
    }

    /// Whether anything is sampled.
    #[inline]
    #[must_use]
    pub fn on(&self) -> bool {
        self.0.is_some()
    }

    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.as_ref().map_or(Stats::default(), |table| Stats { flows: table.places.len(), ..table.stats })
    }

    /// Flows that have ended or are due, at most `most`: of a stretch of the table, another one with each call.
    /// Whether the stretch was the table's last.
    pub fn take(&mut self, now: Nanos, most: usize, into: &mut Vec<Flow>) -> bool {
        self.0.as_mut().is_none_or(|table| table.take(now, most, into))
    }

    /// A burst came in at a port.
    #[inline]
    pub fn see(
        &mut self,
        now: Nanos,
        switch: u16,
        ingress: PortId,
        burst: &[Frame<'_>],
        decisions: &[Decision],
    ) {
        let Some(table) = &mut self.0 else { return };
        let Some(left) = table.left.get_mut(usize::from(switch)) else {
            table.left.resize(usize::from(switch) + 1, table.settings.every - 1);
            return self.see(now, switch, ingress, burst, decisions);
        };
        match left.checked_sub(decisions.len() as u32) {
            Some(rest) => *left = rest,
            None => table.sample(now, switch, ingress, burst, decisions),
        }
    }
}

impl Table {
    fn new(settings: Settings) -> Table {
        let limit = settings.limit.clamp(1, 1 << 24);
        let settings = Settings { every: settings.every.max(1), limit, ..settings };
        Table {
            settings,
            places: HashMap::with_capacity(limit),
            flows: vec![],
            free: vec![],
            order: vec![],
            count: vec![],
            left: vec![],
            hand: 0,
            given_up: VecDeque::with_capacity(WAITING),
            stats: Stats::default(),
        }
    }

    #[cold]
    fn sample(
        &mut self,
        now: Nanos,
        switch: u16,
        ingress: PortId,
        burst: &[Frame<'_>],
        decisions: &[Decision],
    ) {
        let every = self.settings.every as usize;
        let mut at = self.left[usize::from(switch)] as usize;
        while let (Some(frame), Some(decision)) = (burst.get(at), decisions.get(at)) {
            self.stats.sampled += 1;
            let view = frame.view();
            let (packet, tcp_flags, start) = packet::read(frame.head(), decision.tags);
            let (egress, dropped, consumed) = match decision.out {
                Out::Port(port) => (Some(port), None, false),
                Out::Flood(_) | Out::Group(_) => (None, None, false),
                Out::Report(_) | Out::Local | Out::Answer => (None, None, true),
                Out::Drop(reason) => (None, Some(reason), false),
            };
            let key = Key { switch, ingress, egress, vlan: decision.vlan, dropped, consumed, packet };
            let packets = u64::from(view.segments);
            let bytes = view.wire();
            let octets = bytes.saturating_sub(packets * start as u64);
            self.count(now, key, packets, bytes, octets, tcp_flags);
            at += every;
        }
        self.left[usize::from(switch)] = (at - decisions.len()) as u32;
    }

    fn count(&mut self, now: Nanos, key: Key, packets: u64, bytes: u64, octets: u64, tcp_flags: u16) {
        if let Some(flow) = self.places.get(&key).and_then(|&at| self.flows.get_mut(at as usize)?.as_mut()) {
            flow.last = now;
            flow.packets += packets;
            flow.bytes += bytes;
            flow.octets += octets;
            flow.tcp_flags |= tcp_flags;
            return;
        }
        if self.places.len() >= self.settings.limit {
            self.make_room();
        }
        let port = usize::from(key.ingress).min(PORTS_MAX);
        if port >= self.order.len() {
            self.order.resize_with(port + 1, VecDeque::new);
            self.count.resize(port + 1, 0);
        }
        let flow = Flow { key, first: now, last: now, packets, bytes, octets, tcp_flags, end: End::Idle };
        let at = self.free.pop().unwrap_or_else(|| {
            self.flows.push(None);
            (self.flows.len() - 1) as u32
        });
        self.flows[at as usize] = Some(flow);
        self.places.insert(key, at);
        // Places of flows that are gone stay in the list until it is twice too long.
        let order = &mut self.order[port];
        if order.len() > 2 * self.count[port] as usize + 64 {
            let flows = &self.flows;
            order.retain(|&(at, first)| is_it(flows, at, key.ingress, first));
        }
        order.push_back((at, now));
        self.count[port] += 1;
    }

    /// The port that has most flows gives up its oldest.
    fn make_room(&mut self) {
        let Some((port, _)) = self.count.iter().enumerate().max_by_key(|(_, n)| **n) else { return };
        while let Some((at, first)) = self.order.get_mut(port).and_then(VecDeque::pop_front) {
            if is_it(&self.flows, at, port as PortId, first) {
                if let Some(flow) = self.remove(at) {
                    self.stats.evicted += 1;
                    if self.given_up.len() < WAITING {
                        self.given_up.push_back(Flow { end: End::NoRoom, ..flow });
                    } else {
                        self.stats.lost += 1;
                    }
                }
                return;
            }
        }
    }

    fn remove(&mut self, at: u32) -> Option<Flow> {
        let flow = self.flows.get_mut(at as usize)?.take()?;
        self.places.remove(&flow.key);
        self.free.push(at);
        if let Some(count) = self.count.get_mut(usize::from(flow.key.ingress)) {
            *count = count.saturating_sub(1);
        }
        Some(flow)
    }

    fn take(&mut self, now: Nanos, most: usize, into: &mut Vec<Flow>) -> bool {
        let room = most.saturating_sub(into.len()).min(self.given_up.len());
        into.extend(self.given_up.drain(..room));
        let Settings { active, idle, .. } = self.settings;
        for _ in 0..STRIDE {
            if self.hand >= self.flows.len() {
                self.hand = 0;
                return true;
            }
            if into.len() >= most {
                return false;
            }
            let at = self.hand;
            self.hand += 1;
            let Some(flow) = &self.flows[at] else { continue };
            let end = if now.saturating_sub(flow.last) >= idle {
                End::Idle
            } else if now.saturating_sub(flow.first) >= active {
                End::Active
            } else {
                continue;
            };
            into.extend(self.remove(at as u32).map(|flow| Flow { end, ..flow }));
        }
        false
    }

    fn end_all(&mut self) -> Vec<Flow> {
        let mut all: Vec<Flow> = self.given_up.drain(..).collect();
        let left = self.flows.iter_mut().filter_map(Option::take);
        all.extend(left.map(|flow| Flow { end: End::Forced, ..flow }));
        all
    }
}

/// Whether a place is still that of the port's flow that began then.
fn is_it(flows: &[Option<Flow>], at: u32, ingress: PortId, first: Nanos) -> bool {
    let flow = flows.get(at as usize).and_then(Option::as_ref);
    flow.is_some_and(|flow| flow.key.ingress == ingress && flow.first == first)
}
