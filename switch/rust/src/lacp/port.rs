//! One port of an aggregator: its variables and the machines that concern it alone (802.1AX-2014 6.4.7 ff.),
//! under the standard's names. The Mux machine, which looks at its neighbours, is in `mux.rs`.

use super::churn::Detection;
use super::pdu::{Info, Lacpdu, State};
use super::{FAST, LONG, SHORT, SLOW, Setup};
use crate::Nanos;

/// At most so many LACPDUs in a second (6.4.16).
const MOST: usize = 3;

/// 6.4.12, figure 6-18.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receive {
    PortDisabled,
    Expired,
    Defaulted,
    Current,
}

/// 6.4.8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selected {
    Unselected,
    Selected,
    Standby,
}

/// 6.4.15, figures 6-21 and 6-22.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mux {
    Detached,
    Waiting,
    Attached,
    /// With independent control; coupled, a port that collects distributes.
    Collecting,
    Distributing,
}

macro_rules! named {
    ($kind:ident: $($variant:ident = $name:literal),+) => {
        impl $kind {
            /// As `vnet status` shows it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $($kind::$variant => $name),+ }
            }
        }
    };
}
named!(Receive: PortDisabled = "disabled", Expired = "expired", Defaulted = "defaulted", Current = "current");
named!(Selected: Unselected = "unselected", Selected = "selected", Standby = "standby");
named!(Mux: Detached = "detached", Waiting = "waiting", Attached = "attached", Collecting = "collecting",
    Distributing = "distributing");

#[derive(Clone, Debug)]
pub(super) struct Port {
    /// Carrier, and administratively up.
    pub enabled: bool,
    pub actor: Info,
    pub partner: Info,
    pub selected: Selected,
    pub receive: Receive,
    pub mux: Mux,
    pub ntt: bool,
    /// When what the partner said is too old.
    pub current_while: Option<Nanos>,
    /// When the next LACPDU is due, and the last one was sent.
    periodic: Option<Nanos>,
    pub wait_while: Option<Nanos>,
    /// Whether this end, and the other, come to agree.
    pub churns: [Detection; 2],
    sent: [Option<Nanos>; MOST],
}

impl Port {
    pub fn new(setup: &Setup, number: u16, priority: u16) -> Self {
        let mut state = State(State::AGGREGATION | State::DEFAULTED);
        state.set(State::ACTIVITY, setup.active);
        state.set(State::TIMEOUT, setup.short);
        let system = (setup.priority, setup.mac);
        Port {
            enabled: false,
            actor: Info { system, key: setup.key, port_priority: priority, port: number, state },
            partner: Info::default(),
            selected: Selected::Unselected,
            receive: Receive::PortDisabled,
            mux: Mux::Detached,
            ntt: false,
            current_while: None,
            periodic: None,
            wait_while: None,
            churns: [Detection::default(); 2],
            sent: [None; MOST],
        }
    }

    /// What is assumed of a partner that says nothing: nobody to aggregate with, always in sync, and as
    /// impatient as we are, so that it hears of us soon when it can.
    fn default_partner(&self) -> Info {
        let timeout = self.actor.state.0 & State::TIMEOUT;
        Info { state: State(State::SYNCHRONIZATION | timeout), ..Info::default() }
    }

    // -- the receive machine -------------------------------------------------------------------------

    /// port_enabled becomes true or false.
    pub fn enable(&mut self, enabled: bool, now: Nanos) {
        if self.enabled == enabled {
            return;
        }
        self.enabled = enabled;
        if enabled {
            self.expire(now);
            // What was said before the carrier went need not be so any more.
            self.ntt = true;
        } else {
            self.receive = Receive::PortDisabled;
            self.partner.state.set(State::SYNCHRONIZATION, false);
            self.selected = Selected::Unselected;
            self.current_while = None;
            self.periodic = None;
        }
    }

    fn expire(&mut self, now: Nanos) {
        self.receive = Receive::Expired;
        self.partner.state.set(State::SYNCHRONIZATION, false);
        self.partner.state.set(State::TIMEOUT, true);
        self.current_while = Some(now + SHORT);
        self.actor.state.set(State::EXPIRED, true);
    }

    /// Time in which nothing could be heard does not count.
    pub fn excuse(&mut self, unheard: Nanos) {
        self.current_while = self.current_while.map(|at| at.saturating_add(unheard));
    }

    /// The current_while timer, if it has expired.
    pub fn age(&mut self, now: Nanos) {
        if self.current_while.is_none_or(|at| at > now) {
            return;
        }
        self.current_while = None;
        if self.receive == Receive::Current {
            self.expire(now);
            return;
        }
        self.receive = Receive::Defaulted;
        // update_Default_Selected and recordDefault
        if !same(&self.partner, &self.default_partner()) {
            self.selected = Selected::Unselected;
        }
        self.partner = self.default_partner();
        self.actor.state.set(State::DEFAULTED, true);
        self.actor.state.set(State::EXPIRED, false);
    }

    /// An LACPDU came in.
    pub fn hear(&mut self, pdu: &Lacpdu, now: Nanos) {
        if !self.enabled {
            return;
        }
        self.receive = Receive::Current;
        // update_Selected
        if !same(&pdu.actor, &self.partner) {
            self.selected = Selected::Unselected;
        }
        // update_NTT
        const TOLD: u8 = State::ACTIVITY | State::TIMEOUT | State::SYNCHRONIZATION | State::AGGREGATION;
        let known = identity(&pdu.partner) == identity(&self.actor);
        if !known || (pdu.partner.state.0 ^ self.actor.state.0) & TOLD != 0 {
            self.ntt = true;
        }
        // recordPDU
        let Info { state, .. } = pdu.actor;
        let aggregates = |state: State| state.has(State::AGGREGATION);
        let matched = known && aggregates(pdu.partner.state) == aggregates(self.actor.state);
        let maintained = state.has(State::ACTIVITY)
            || self.actor.state.has(State::ACTIVITY) && pdu.partner.state.has(State::ACTIVITY);
        let in_sync = (matched || !aggregates(state)) && state.has(State::SYNCHRONIZATION) && maintained;
        self.partner = pdu.actor;
        self.partner.state.set(State::SYNCHRONIZATION, in_sync);
        self.actor.state.set(State::DEFAULTED, false);
        self.actor.state.set(State::EXPIRED, false);
        let patience = if self.actor.state.has(State::TIMEOUT) { SHORT } else { LONG };
        self.current_while = Some(now + patience);
    }

    /// The churn machines (6.4.17, figures 6-23 and 6-24).
    pub fn churn(&mut self, now: Nanos) {
        for (detection, end) in self.churns.iter_mut().zip([&self.actor, &self.partner]) {
            detection.look(self.enabled, end.state.has(State::SYNCHRONIZATION), now);
        }
    }

    // -- periodic transmission (6.4.13), and transmission (6.4.16) -------------------------------------

    /// Whether LACPDUs may be sent at all: two passive ends say nothing.
    fn speaks(&self) -> bool {
        self.enabled && (self.actor.state.has(State::ACTIVITY) || self.partner.state.has(State::ACTIVITY))
    }

    fn period(&self) -> Nanos {
        if self.partner.state.has(State::TIMEOUT) { FAST } else { SLOW }
    }

    /// Note what is due at `now`.
    pub fn period_passes(&mut self, now: Nanos) {
        if !self.speaks() {
            self.periodic = None;
            self.ntt = false;
            return;
        }
        let began = *self.periodic.get_or_insert(now);
        if began.saturating_add(self.period()) <= now {
            self.periodic = Some(now);
            self.ntt = true;
        }
    }

    /// The LACPDU to send now, if one is.
    pub fn transmit(&mut self, now: Nanos) -> Option<Lacpdu> {
        if !self.ntt || !self.speaks() || self.barred().is_some_and(|until| until > now) {
            return None;
        }
        self.ntt = false;
        self.sent.rotate_left(1);
        self.sent[MOST - 1] = Some(now);
        Some(Lacpdu { actor: self.actor, partner: self.partner })
    }

    /// Until when there must not be another.
    fn barred(&self) -> Option<Nanos> {
        self.sent[0].map(|at| at.saturating_add(FAST))
    }

    /// When there is something to do.
    pub fn deadline(&self) -> Option<Nanos> {
        let periodic = self.periodic.map(|began| began.saturating_add(self.period()));
        let owed = if self.ntt { self.barred() } else { None };
        let churns = self.churns.iter().filter_map(Detection::deadline).min();
        [self.current_while, periodic, owed, self.wait_while, churns].into_iter().flatten().min()
    }
}

/// Who it is, and where.
fn identity(info: &Info) -> (super::pdu::System, u16, u16, u16) {
    (info.system, info.key, info.port_priority, info.port)
}

/// Whether selection could not tell the two apart.
fn same(one: &Info, other: &Info) -> bool {
    identity(one) == identity(other)
        && one.state.has(State::AGGREGATION) == other.state.has(State::AGGREGATION)
}
