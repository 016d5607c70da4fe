//! Selection (802.1AX-2014 6.4.14) and the Mux machine (6.4.15), which look at all ports of an aggregator.

use super::pdu::{State, System};
use super::port::{Mux, Port, Receive, Selected};
use super::{Aggregator, Setup};
use crate::Nanos;

/// Whom a port leads to. Ports with the same can be aggregated; an individual one with none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lag {
    system: System,
    key: u16,
    /// Of an individual port: which.
    alone: Option<u16>,
}

impl Lag {
    pub fn system(&self) -> System {
        self.system
    }

    /// `None`: the port can't be in use.
    fn of(setup: &Setup, port: &Port) -> Option<Lag> {
        let partner = &port.partner;
        let silent = port.receive == Receive::Defaulted;
        match port.receive {
            Receive::PortDisabled => return None,
            Receive::Defaulted if !setup.fallback => return None,
            // Nothing was heard since it came up.
            Receive::Expired if partner.system.1 == [0; 6] => return None,
            // A cable from ourselves to ourselves.
            _ if partner.system == port.actor.system => return None,
            _ => {}
        }
        let alone = silent || !partner.state.has(State::AGGREGATION);
        Some(Lag { system: partner.system, key: partner.key, alone: alone.then_some(port.actor.port) })
    }
}

impl Aggregator {
    /// Selection and Mux of every port, until nothing changes. Each pass takes some port a state further, and
    /// none goes round: what they depend on stays the same meanwhile.
    pub(super) fn select_and_mux(&mut self) {
        for _ in 0..16 {
            self.select();
            if !self.mux() {
                return;
            }
        }
    }

    fn select(&mut self) {
        let Aggregator { setup, ports, partner, .. } = self;
        let lags: Vec<Option<Lag>> = ports.iter().map(|port| Lag::of(setup, port)).collect();
        let count = |lag: &Lag| lags.iter().filter(|other| **other == Some(*lag)).count();
        // Whoever is in use stays; else where most cables lead to, and of those the first.
        let before = partner.filter(|lag| count(lag) > 0);
        let best = || {
            let groups = lags.iter().flatten().filter(|lag| lag.alone.is_none());
            groups.rev().max_by_key(|lag| count(lag)).copied()
        };
        let first = || before.or_else(|| lags.iter().flatten().next().copied());
        *partner = before.filter(|lag| lag.alone.is_none()).or_else(best).or_else(first);
        let mut chosen: Vec<usize> =
            (0..ports.len()).filter(|&i| lags[i].is_some() && lags[i] == *partner).collect();
        // Which ports stand by is for the system with the better priority to say (6.7.1), by its ports'.
        let order = |i: &usize| {
            let Port { actor, partner, .. } = &ports[*i];
            let ours = actor.system < partner.system;
            let (first, second) = if ours { (actor, partner) } else { (partner, actor) };
            (first.port_priority, first.port, second.port_priority, second.port)
        };
        chosen.sort_by_key(order);
        let most = setup.most.max(1);
        for (i, port) in ports.iter_mut().enumerate() {
            port.selected = match chosen.iter().position(|at| *at == i) {
                // It leaves first what it was in.
                _ if port.selected == Selected::Unselected && port.mux != Mux::Detached => {
                    Selected::Unselected
                }
                None => Selected::Unselected,
                Some(at) if at < most => Selected::Selected,
                Some(_) => Selected::Standby,
            };
        }
    }

    /// One step of each port that has one to take; whether any had.
    fn mux(&mut self) -> bool {
        let Aggregator { setup, ports, now, .. } = self;
        for port in ports.iter_mut() {
            port.wait_while = port.wait_while.filter(|at| *at > *now);
        }
        let waiting = |port: &Port| port.mux == Mux::Waiting && port.selected == Selected::Selected;
        // Ready: all that wait for this aggregator have waited.
        let ready = ports.iter().filter(|port| waiting(port)).all(|port| port.wait_while.is_none());
        let mut any = false;
        for port in ports.iter_mut() {
            if let Some(next) = next(setup, port, ready) {
                enter(setup, port, next, *now);
                any = true;
            }
        }
        any
    }
}

/// The state that a port's Mux goes to, if it leaves the one that it is in.
fn next(setup: &Setup, port: &Port, ready: bool) -> Option<Mux> {
    let selected = port.selected == Selected::Selected;
    let in_sync = selected && port.partner.state.has(State::SYNCHRONIZATION);
    let collected = in_sync && port.partner.state.has(State::COLLECTING);
    match port.mux {
        Mux::Detached => (port.selected != Selected::Unselected).then_some(Mux::Waiting),
        Mux::Waiting if port.selected == Selected::Unselected => Some(Mux::Detached),
        Mux::Waiting => (selected && ready).then_some(Mux::Attached),
        Mux::Attached if !selected => Some(Mux::Detached),
        Mux::Attached if in_sync && setup.independent => Some(Mux::Collecting),
        Mux::Attached => in_sync.then_some(Mux::Distributing),
        Mux::Collecting if !in_sync => Some(Mux::Attached),
        // Whoever says nothing of itself does not say that it collects, either.
        Mux::Collecting => (collected || port.receive == Receive::Defaulted).then_some(Mux::Distributing),
        Mux::Distributing if !setup.independent => (!in_sync).then_some(Mux::Attached),
        Mux::Distributing if in_sync && port.receive == Receive::Defaulted => None,
        Mux::Distributing => (!collected).then_some(Mux::Collecting),
    }
}

fn enter(setup: &Setup, port: &mut Port, next: Mux, now: Nanos) {
    port.mux = next;
    let state = &mut port.actor.state;
    port.wait_while = None;
    if next == Mux::Waiting {
        port.wait_while = Some(now.saturating_add(setup.wait)).filter(|_| setup.wait > 0);
    }
    let attached = !matches!(next, Mux::Detached | Mux::Waiting);
    let collects = matches!(next, Mux::Collecting | Mux::Distributing);
    let mut told = state.set(State::SYNCHRONIZATION, attached);
    told |= state.set(State::COLLECTING, collects);
    told |= state.set(State::DISTRIBUTING, next == Mux::Distributing);
    port.ntt |= told;
}
