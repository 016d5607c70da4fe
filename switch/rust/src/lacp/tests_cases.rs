//! The state diagrams of 802.1AX-2014 as data: what happens to one port, and what it is then.
#![allow(clippy::unwrap_used)]

use super::*;
use pdu::State;

/// What happens.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// port_enabled becomes TRUE, FALSE.
    Enable,
    Disable,
    /// An LACPDU from the partner, which knows us rightly, with these bits of its own state ...
    Heard(u8),
    /// ... which does not know us yet,
    Unknowing(u8),
    /// ... from another system.
    Other(u8),
    /// Seconds pass.
    Seconds(u64),
}
use Event::{Disable, Enable, Heard, Other, Seconds, Unknowing};

const A: u8 = State::ACTIVITY;
const F: u8 = State::TIMEOUT;
const G: u8 = State::AGGREGATION;
const S: u8 = State::SYNCHRONIZATION;
const C: u8 = State::COLLECTING;
const D: u8 = State::DISTRIBUTING;
const DEFAULTED: u8 = State::DEFAULTED;
const EXPIRED: u8 = State::EXPIRED;

struct Case {
    /// The diagram, and which way through it.
    name: &'static str,
    setup: fn() -> Setup,
    events: &'static [Event],
    receive: Receive,
    mux: Mux,
    /// The actor's state as it is told.
    state: u8,
}

fn active() -> Setup {
    Setup::new([2, 0, 0, 0, 0, 1], 1)
}

fn coupled() -> Setup {
    Setup { independent: false, ..active() }
}

fn passive() -> Setup {
    Setup { active: false, ..active() }
}

fn fallback() -> Setup {
    Setup { fallback: true, ..active() }
}

fn short() -> Setup {
    Setup { short: true, ..active() }
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { name: "6-18 INITIALIZE to PORT_DISABLED", setup: active, events: &[],
        receive: Receive::PortDisabled, mux: Mux::Detached, state: A | G | DEFAULTED },
    Case { name: "6-18 PORT_DISABLED to EXPIRED", setup: active, events: &[Enable],
        receive: Receive::Expired, mux: Mux::Detached, state: A | G | DEFAULTED | EXPIRED },
    Case { name: "6-18 EXPIRED to DEFAULTED after Short_Timeout_Time", setup: active, events: &[Enable, Seconds(3)],
        receive: Receive::Defaulted, mux: Mux::Detached, state: A | G | DEFAULTED },
    Case { name: "6-18 EXPIRED, not yet", setup: active, events: &[Enable, Seconds(2)],
        receive: Receive::Expired, mux: Mux::Detached, state: A | G | DEFAULTED | EXPIRED },
    Case { name: "6-18 DEFAULTED to CURRENT", setup: active, events: &[Enable, Seconds(9), Unknowing(A | G)],
        receive: Receive::Current, mux: Mux::Waiting, state: A | G },
    Case { name: "6-18 CURRENT to EXPIRED after Long_Timeout_Time", setup: active,
        events: &[Enable, Unknowing(A | G), Seconds(90)],
        receive: Receive::Expired, mux: Mux::Attached, state: A | G | S | EXPIRED },
    Case { name: "6-18 CURRENT, not yet", setup: active, events: &[Enable, Unknowing(A | G), Seconds(89)],
        receive: Receive::Current, mux: Mux::Attached, state: A | G | S },
    Case { name: "6-18 CURRENT to EXPIRED after Short_Timeout_Time", setup: short,
        events: &[Enable, Unknowing(A | G), Seconds(3)],
        receive: Receive::Expired, mux: Mux::Attached, state: A | F | G | S | EXPIRED },
    Case { name: "6-18 EXPIRED to CURRENT", setup: short,
        events: &[Enable, Unknowing(A | G), Seconds(3), Heard(A | G)],
        receive: Receive::Current, mux: Mux::Attached, state: A | F | G | S },
    Case { name: "6-18 EXPIRED to DEFAULTED, unselected", setup: short,
        events: &[Enable, Unknowing(A | G), Seconds(6)],
        receive: Receive::Defaulted, mux: Mux::Detached, state: A | F | G | DEFAULTED },
    Case { name: "6-18 to PORT_DISABLED from anywhere", setup: active,
        events: &[Enable, Unknowing(A | G), Seconds(2), Heard(A | G | S | C | D), Disable],
        receive: Receive::PortDisabled, mux: Mux::Detached, state: A | G },
    Case { name: "6-21 DETACHED to WAITING", setup: active, events: &[Enable, Unknowing(A | G)],
        receive: Receive::Current, mux: Mux::Waiting, state: A | G },
    Case { name: "6-21 WAITING to ATTACHED after Aggregate_Wait_Time", setup: active,
        events: &[Enable, Unknowing(A | G), Seconds(2)],
        receive: Receive::Current, mux: Mux::Attached, state: A | G | S },
    Case { name: "6-21 WAITING to DETACHED and back for another partner", setup: active,
        events: &[Enable, Unknowing(A | G), Seconds(1), Other(A | G), Seconds(1)],
        receive: Receive::Current, mux: Mux::Waiting, state: A | G },
    Case { name: "6-21 ATTACHED to COLLECTING", setup: active,
        events: &[Enable, Unknowing(A | G), Seconds(2), Heard(A | G | S)],
        receive: Receive::Current, mux: Mux::Collecting, state: A | G | S | C },
    Case { name: "6-21 ATTACHED, as the partner does not know us", setup: active,
        events: &[Enable, Unknowing(A | G), Seconds(2), Unknowing(A | G | S)],
        receive: Receive::Current, mux: Mux::Attached, state: A | G | S },
    Case { name: "6-21 COLLECTING to DISTRIBUTING", setup: active,
        events: &[Enable, Unknowing(A | G), Seconds(2), Heard(A | G | S | C)],
        receive: Receive::Current, mux: Mux::Distributing, state: A | G | S | C | D },
    Case { name: "6-21 DISTRIBUTING to COLLECTING", setup: active,
        events: &[Enable, Unknowing(A | G), Seconds(2), Heard(A | G | S | C), Heard(A | G | S)],
        receive: Receive::Current, mux: Mux::Collecting, state: A | G | S | C },
    Case { name: "6-21 DISTRIBUTING to ATTACHED, out of sync", setup: active,
        events: &[Enable, Unknowing(A | G), Seconds(2), Heard(A | G | S | C | D), Heard(A | G)],
        receive: Receive::Current, mux: Mux::Attached, state: A | G | S },
    Case { name: "6-21 DISTRIBUTING to DETACHED and on for another partner", setup: active,
        events: &[Enable, Unknowing(A | G), Seconds(2), Heard(A | G | S | C | D), Other(A | G | S)],
        receive: Receive::Current, mux: Mux::Waiting, state: A | G },
    Case { name: "6-22 ATTACHED to COLLECTING_DISTRIBUTING", setup: coupled,
        events: &[Enable, Unknowing(A | G), Seconds(2), Heard(A | G | S)],
        receive: Receive::Current, mux: Mux::Distributing, state: A | G | S | C | D },
    Case { name: "6-22 COLLECTING_DISTRIBUTING to ATTACHED", setup: coupled,
        events: &[Enable, Unknowing(A | G), Seconds(2), Heard(A | G | S), Heard(A | G)],
        receive: Receive::Current, mux: Mux::Attached, state: A | G | S },
    Case { name: "6.4.9 recordPDU: an individual partner need not know us", setup: active,
        events: &[Enable, Unknowing(A | S | C), Seconds(2)],
        receive: Receive::Current, mux: Mux::Distributing, state: A | G | S | C | D },
    Case { name: "6.4.9 recordPDU: who does not keep it up is not in sync", setup: passive,
        events: &[Enable, Unknowing(G), Seconds(2), Heard(G | S)],
        receive: Receive::Current, mux: Mux::Attached, state: G | S },
    Case { name: "6.4.9 recordDefault: in sync, and individual", setup: fallback, events: &[Enable, Seconds(5)],
        receive: Receive::Defaulted, mux: Mux::Distributing, state: A | G | S | C | D | DEFAULTED },
];

fn ours(system: &Aggregator) -> Info {
    system.views().next().unwrap().actor
}

#[test]
fn ports_go_where_the_diagrams_say() {
    for Case { name, setup, events, receive, mux, state } in CASES {
        let mut system = Aggregator::new(setup(), &[0x8000]);
        let mut now = 0;
        for event in *events {
            let mut heard = |state: u8, knows: bool, other: bool| {
                // What it knows of us is what we are.
                let partner = if knows { ours(&system) } else { Info::default() };
                let actor = Info {
                    system: (9, [9 + u8::from(other); 6]),
                    key: 9,
                    port: 9,
                    state: State(state),
                    ..Info::default()
                };
                assert!(system.input(0, &Lacpdu { actor, partner }.frame([9; 6]), now));
            };
            match *event {
                Enable => system.set_enabled(0, true, now),
                Disable => system.set_enabled(0, false, now),
                Heard(state) => heard(state, true, false),
                Unknowing(state) => heard(state, false, false),
                Other(state) => heard(state, true, true),
                Seconds(seconds) => {
                    let end = now + seconds * SECOND;
                    while let Some(at) = system.deadline().filter(|at| *at <= end) {
                        now = at;
                        system.tick(now);
                    }
                    now = end;
                }
            }
        }
        let view = system.views().next().unwrap();
        assert_eq!((view.receive, view.mux), (*receive, *mux), "{name}");
        assert_eq!(format!("{:08b}", view.actor.state.0), format!("{state:08b}"), "{name}");
    }
}

/// When LACPDUs are sent by a port whose partner wants to hear often or seldom (6-19).
#[test]
fn periods_are_those_that_the_partner_asks_for() {
    for (partner, expected) in [(A | F, 1), (A, 30), (F, 1), (0, 30)] {
        let mut system = Aggregator::new(active(), &[0x8000]);
        system.set_enabled(0, true, 0);
        let mut now = 0;
        let mut sent = vec![];
        while now < 200 * SECOND {
            while let Some(Output::Send(_, pdu)) = system.poll() {
                sent.push(now);
                // The answer keeps it current.
                let actor =
                    Info { system: (9, [9; 6]), key: 9, port: 9, state: State(partner), ..Info::default() };
                system.input(0, &Lacpdu { actor, partner: pdu.actor }.frame([9; 6]), now);
            }
            now = system.deadline().unwrap().max(now);
            system.tick(now);
        }
        let last: Vec<Nanos> = sent.windows(2).rev().take(3).map(|two| (two[1] - two[0]) / SECOND).collect();
        assert_eq!(last, vec![expected; 3], "partner {partner:08b}");
    }
}
