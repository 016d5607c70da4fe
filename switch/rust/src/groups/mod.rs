//! Security groups: who may begin to talk to a guest and whom it may begin to talk to. Stateful:
//! what belongs to a connection that was allowed needs no rule.
//!
//! Words are those of clouds: *egress* is from the guest into the fabric, *ingress* to the guest. A
//! frame between two guests is judged at both ends. It is looked up once, in a table that all ports
//! of a switch share (`table/`), and each end has its own verdict in the connection: the *stamp* of
//! the port and of the rules that allowed it there. When rules change the port has another stamp,
//! and the connection's next packet is judged again, as if it were the first, by the new rules: it
//! goes on, or it is cut, and there is nothing in between and nothing to walk through.
//!
//! What passes without a rule: ARP, neighbour discovery, DHCP's client side and membership of
//! multicast groups, as a host needs them on its link (`needs.rs`); replies; ICMP errors about what is on its way.
//! Multicast and broadcast are judged packet by packet: nobody can say who will answer. What is no IP
//! does not pass.
//!
//! In reading order: `rules.rs` (what is allowed), `packet.rs` (what a frame says), `needs.rs`, `judge.rs` (what comes
//! of it), `tcp.rs`, `table/` (connections), `quick.rs`, `quick/look.rs`, `tcp/row.rs` and `raw.rs` (the short way of
//! most packets), `fragments.rs`, `refuse.rs` and `denied.rs` (drop reasons, lines for people), `list.rs`.

mod denied;
mod fragments;
mod judge;
mod list;
mod needs;
mod packet;
mod quick;
mod raw;
mod refuse;
mod rules;
mod table;
mod tcp;

pub(crate) use judge::Frame;
pub use list::Connection;
pub(crate) use quick::{Asked, BURST, Passing};
pub use quick::{LookUp, Lookup};
pub(crate) use refuse::Refusal;
pub use rules::{Groups, Rule};

use crate::{Alike, DropReason, Handover, Nanos, PortConfig, PortId, View, VlanId};
use denied::Denied;
use fragments::Fragments;
use needs::{Need, Waiting};
use packet::{Kind, Read};
use quick::Ready;
use table::{Table, coarse};

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
    config: &'a PortConfig,
}

impl<'a> Gate<'a> {
    /// The gate of a port; `None` where everything passes.
    #[inline]
    pub(crate) fn of(port: PortId, stamp: u32, config: &'a PortConfig) -> Option<Gate<'a>> {
        if stamp == 0 {
            return None;
        }
        config.groups.as_deref().map(|groups| Gate { port, stamp, groups, config })
    }

    /// Whether its guest has addresses by DHCP.
    fn learns(&self) -> bool {
        self.config.guard.as_ref().is_some_and(|guard| guard.learns)
    }
}

/// The gates that a frame passes, as far as they are there and known.
#[derive(Clone, Copy)]
pub(crate) struct Gates<'a> {
    /// Where it comes from, on its way out of the guest.
    pub(crate) from: Option<Gate<'a>>,
    /// Where it goes to, on its way in.
    pub(crate) to: Option<Gate<'a>>,
}

/// Who pays for a connection that begins: a port, and how many it may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payer {
    pub(crate) port: PortId,
    pub(crate) limit: u32,
}

/// The connections of a switch.
#[derive(Debug)]
pub(crate) struct Tracker {
    table: Table,
    fragments: Fragments,
    waiting: Waiting,
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
            waiting: Waiting::default(),
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

    /// Have another way to look bursts up.
    pub(crate) fn set_look_up(&mut self, look_up: LookUp) {
        self.table.set_look_up(look_up);
    }

    /// Have something that is told of memory which will be read all over.
    pub(crate) fn set_spread(&mut self, spread: fn(*const u8, usize)) {
        self.table.set_spread(spread);
    }

    /// A stamp that a port never had; 0 for one that has no groups. `had`: whether it had some.
    pub(crate) fn stamp(&mut self, port: PortId, had: bool, has: bool) -> u32 {
        self.gates = self.gates + u32::from(has) - u32::from(had);
        if has {
            self.table.prepare();
        }
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
        self.waiting.forget(port);
    }

    /// VLANs pass to other networks, which shall find nothing open in them.
    pub(crate) fn forget_vlans(&mut self, handover: &Handover) {
        self.table.forget(|key| handover.contains_key(&packet::ends(key).2));
        self.fragments.forget_vlans(handover);
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
        self.table.memory() + self.fragments.memory() + self.waiting.memory() + numbers * size_of::<u32>()
    }

    // -- for a twin --------------------------------------------------------------------------------

    /// A tracker that knows of no connection, but how many there are: see `twin.rs`.
    pub(crate) fn sketch(&self) -> Tracker {
        Tracker {
            table: self.table.sketch(),
            fragments: Fragments::default(),
            waiting: Waiting::default(),
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
        (account, vlan, tags): (PortId, VlanId, u8),
        view: &View<'_>,
    ) {
        if from.gates == 0 {
            return;
        }
        self.fragments.bring(&from.fragments, account);
        let Read::Ip(packet) = packet::read(view, 12 + 4 * usize::from(tags), vlan) else { return };
        if packet.need == Need::Told {
            self.waiting.bring(&from.waiting);
        }
        let known = from.fragments.belongs(now, account, &packet);
        for packet in [Some(packet), known].into_iter().flatten() {
            self.table.bring(&from.table, &packet.key);
            if let Kind::Error { key, .. } = packet.kind {
                self.table.bring(&from.table, &key);
            }
        }
    }

    // -- the short way ---------------------------------------------------------------------------

    /// Look up at most `BURST` frames at once that came in by a port whose untagged frames are in `vlan`, for
    /// [`Tracker::passes`]; which of them pass already, as far as they are `like` the last one. `alike`: what is known
    /// of all of them.
    #[inline]
    pub(crate) fn bring<'a>(
        &mut self,
        views: impl Iterator<Item = View<'a>> + Clone,
        alike: Option<&Alike<'_>>,
        vlan: VlanId,
        asked: Option<Asked>,
        like: impl Fn(&View<'a>) -> bool,
    ) -> Passing {
        self.ready.bring(&self.table, views, alike, (vlan, coarse(self.now)), asked, like)
    }

    /// Whether a frame that passes as a segment is one more of its connection, which then knows of it.
    #[inline]
    pub(crate) fn carries_on(&mut self, number: usize, view: &View<'_>) -> bool {
        self.ready.carries_on(&mut self.table, number, view)
    }

    /// How many of a burst's next frames, which pass as segments and are like the last one, are more of their connections,
    /// `room` at most; and their bytes. They are out of the burst.
    #[inline]
    pub(crate) fn carry_on<'v>(
        &mut self,
        number: usize,
        burst: &mut (impl Iterator<Item = View<'v>> + Clone),
        room: usize,
    ) -> (usize, u64) {
        self.ready.carry_on(&mut self.table, number, burst, room)
    }

    /// Whether this frame, of a connection known to both gates, passes them without more ado.
    #[inline]
    pub(crate) fn passes(&mut self, number: usize, view: &View<'_>, asked: Asked) -> bool {
        self.ready.passes(&mut self.table, number, view, asked, coarse(self.now))
    }
}
