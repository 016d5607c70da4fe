//! Link aggregation: LACP and the Marker responder (802.1AX-2014 clause 6, formerly 802.3ad).
//!
//! One [`Aggregator`] for each bundle of cables. It does no I/O: PDUs and carrier come in with a time, `tick`
//! is called when `deadline` says so, and PDUs to send are taken out with `poll`; which ports collect and
//! distribute is asked for. The machines are those of the standard, under its names: Receive and Periodic
//! Transmission in `port.rs`, Selection and Mux in `mux.rs`, both Churn Detection machines, which are for people
//! to look at, in `churn.rs`.
//!
//! There is one aggregator for all ports, so a selection is needed only where the cables lead to different
//! partners: then those that lead to one of them make the bundle, and the others stay out.

mod churn;
mod flow;
mod mux;
pub mod pdu;
mod port;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_cases;

pub use churn::Churn;
pub use flow::{Hashed, flow};
pub use port::{Mux, Receive, Selected};

use crate::Nanos;
use pdu::{Info, Lacpdu, Marker, Slow, State, System};
use port::Port;
use std::collections::VecDeque;

const SECOND: Nanos = 1_000_000_000;
/// Fast_Periodic_Time, Slow_Periodic_Time, Short_Timeout_Time, Long_Timeout_Time (6.4.4).
const FAST: Nanos = SECOND;
const SLOW: Nanos = 30 * SECOND;
const SHORT: Nanos = 3 * SECOND;
const LONG: Nanos = 90 * SECOND;
/// Churn_Detection_Time.
const CHURN: Nanos = 60 * SECOND;
/// Aggregate_Wait_Time.
pub const WAIT: Nanos = 2 * SECOND;
/// Whoever calls `tick` later than this after its deadline was not there, and not only slow.
const LATE: Nanos = SECOND / 2;
/// Ports of one aggregator.
pub const PORTS: usize = 8;
/// Markers that are answered in a second, by one port (annex 57A.3 of 802.3 allows ten frames).
const MARKERS: u32 = 5;

/// How an aggregator is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)]
pub struct Setup {
    /// Of the system; the lower is preferred.
    pub priority: u16,
    pub mac: [u8; 6],
    /// Ports of one system with the same key may be aggregated: this one's.
    pub key: u16,
    /// It speaks without being spoken to.
    pub active: bool,
    /// It wants to hear from its partner every second, and not every 30.
    pub short: bool,
    /// Receiving and sending begin one after the other, each when the partner is ready for it.
    pub independent: bool,
    /// How long new ports wait for others that might come along.
    pub wait: Nanos,
    /// Ports that may be in use at once; the others stand by.
    pub most: usize,
    /// A port whose partner does not speak LACP is used, alone.
    pub fallback: bool,
}

impl Setup {
    /// The standard's defaults.
    #[must_use]
    pub const fn new(mac: [u8; 6], key: u16) -> Self {
        Setup {
            priority: 0x8000,
            mac,
            key,
            active: true,
            short: false,
            independent: true,
            wait: WAIT,
            most: PORTS,
            fallback: false,
        }
    }
}

/// What is to be sent, by the port of this index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    Send(usize, Lacpdu),
    Answer(usize, Marker),
}

impl Output {
    /// By which port, and the frame, with the port's address `source`.
    #[must_use]
    pub fn frame(&self, source: impl FnOnce(usize) -> [u8; 6]) -> (usize, Vec<u8>) {
        match self {
            Output::Send(port, pdu) => (*port, pdu.frame(source(*port))),
            Output::Answer(port, marker) => (*port, pdu::marker_response(marker, source(*port))),
        }
    }
}

/// What is to be seen of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortView {
    pub receive: Receive,
    pub selected: Selected,
    pub mux: Mux,
    pub actor: Info,
    pub partner: Info,
    /// Of this end, and of the other.
    pub churn: [Churn; 2],
}

/// See the top of this file.
#[derive(Clone, Debug)]
pub struct Aggregator {
    setup: Setup,
    ports: Vec<Port>,
    /// Whom the aggregated ports lead to.
    partner: Option<mux::Lag>,
    now: Nanos,
    out: VecDeque<Output>,
    /// Markers that were answered in the second that began then, by port.
    markers: Vec<(Nanos, u32)>,
}

impl Aggregator {
    /// An aggregator for ports with these priorities, at most [`PORTS`]; the lower is preferred. They are
    /// numbered from 1, and have no carrier.
    #[must_use]
    pub fn new(setup: Setup, priorities: &[u16]) -> Self {
        let numbered = (1..).zip(priorities.iter().take(PORTS));
        let ports: Vec<Port> =
            numbered.map(|(number, &priority)| Port::new(&setup, number, priority)).collect();
        let markers = vec![(0, 0); ports.len()];
        Aggregator { setup, ports, partner: None, now: 0, out: VecDeque::new(), markers }
    }

    /// A port's carrier came or went.
    pub fn set_enabled(&mut self, port: usize, enabled: bool, now: Nanos) {
        self.advance(now);
        if let Some(port) = self.ports.get_mut(port) {
            port.enable(enabled, self.now);
        }
        self.run();
    }

    /// A frame came in; false when it is none of these.
    pub fn input(&mut self, port: usize, frame: &[u8], now: Nanos) -> bool {
        self.advance(now);
        let Some(place) = self.ports.get_mut(port) else { return false };
        match pdu::parse(frame) {
            None => return false,
            Some(Slow::Lacp(pdu)) => place.hear(&pdu, self.now),
            Some(Slow::Marker(marker)) => self.answer(port, marker),
            Some(Slow::MarkerResponse) => {}
        }
        self.run();
        true
    }

    fn answer(&mut self, port: usize, marker: Marker) {
        let Some((since, answered)) = self.markers.get_mut(port) else { return };
        if self.now.saturating_sub(*since) >= SECOND {
            (*since, *answered) = (self.now, 0);
        }
        if *answered < MARKERS {
            *answered += 1;
            self.out.push_back(Output::Answer(port, marker));
        }
    }

    /// Time has come to `now`.
    pub fn tick(&mut self, now: Nanos) {
        self.advance(now);
        self.run();
    }

    /// While nobody looked (the machine slept, or had no time for us), nobody listened either: that a partner
    /// was not heard meanwhile says nothing of it, least of all where it was asleep with us.
    fn advance(&mut self, now: Nanos) {
        let late = self.deadline().map_or(0, |at| now.saturating_sub(at));
        self.now = self.now.max(now);
        for port in &mut self.ports {
            if late > LATE {
                port.excuse(late);
            }
            port.age(self.now);
        }
    }

    /// Let the machines go on until none has anything to do.
    fn run(&mut self) {
        self.select_and_mux();
        for (number, port) in self.ports.iter_mut().enumerate() {
            port.churn(self.now);
            port.period_passes(self.now);
            if let Some(pdu) = port.transmit(self.now) {
                self.out.push_back(Output::Send(number, pdu));
            }
        }
    }

    /// When `tick` wants to be called.
    #[must_use]
    pub fn deadline(&self) -> Option<Nanos> {
        self.ports.iter().filter_map(Port::deadline).min()
    }

    /// The next thing to send, in order.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// Whether there is something to send.
    #[must_use]
    pub fn wants(&self) -> bool {
        !self.out.is_empty()
    }

    /// Whether frames from a port belong to the aggregate.
    #[must_use]
    pub fn collects(&self, port: usize) -> bool {
        self.ports.get(port).is_some_and(|port| port.actor.state.has(State::COLLECTING))
    }

    /// Whether frames may be sent by a port.
    #[must_use]
    pub fn distributes(&self, port: usize) -> bool {
        self.ports.get(port).is_some_and(|port| port.actor.state.has(State::DISTRIBUTING))
    }

    /// The system that the aggregated ports lead to.
    #[must_use]
    pub fn partner(&self) -> Option<System> {
        self.partner.map(|lag| lag.system())
    }

    /// Each port.
    pub fn views(&self) -> impl Iterator<Item = PortView> + '_ {
        self.ports.iter().map(|port| PortView {
            receive: port.receive,
            selected: port.selected,
            mux: port.mux,
            actor: port.actor,
            partner: port.partner,
            churn: port.churns.map(|churn| churn.state),
        })
    }
}
