//! What is billed, against what the doors of a whole fabric saw.
#![allow(clippy::unwrap_used)]

use _native::engine::usage::{Count, Usage};
use _native::engine::{Engine, Next};
use nics::link::{Impair, Step};
use nics::{Arena, Burst, Caps, Context, Frame, Nic, Offload, Rx, TxFrame, TxReport};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use switch::{Limit, Limits, Nanos, Native, PortConfig, PortId, PortMode, SwitchConfig, VlanSet};

const VLAN: u16 = 10;
const PLAIN: usize = 100;
/// Segments of a super-frame, the payload of each, and the bytes of its headers.
const SEGMENTS: usize = 5;
const MSS: usize = 900;
const HEADERS: usize = 54;

/// What a door is to lend.
type Waiting = Arc<Mutex<Vec<(Vec<u8>, Offload)>>>;

/// What came out at a door: (which frame, segments, bytes of a wire without tags).
type Seen = Arc<Mutex<Vec<(u16, u64, u64)>>>;

/// A door that lends what it is given, and notes what comes out; beyond `room` frames it refuses.
struct Door {
    send: Waiting,
    lent: Vec<(Vec<u8>, Offload)>,
    seen: Seen,
    tso: bool,
    room: usize,
    cx: Option<Context>,
}

impl Nic for Door {
    fn kind(&self) -> &'static str {
        "door"
    }
    fn caps(&self) -> Caps {
        Caps { csum: self.tso, tso4: self.tso, ..Caps::plain(9000) }
    }
    fn carrier(&self) -> bool {
        true
    }
    fn attach(&mut self, cx: Context, _now: Nanos) -> io::Result<()> {
        self.cx = Some(cx);
        Ok(())
    }
    fn rx_burst<'a>(&'a mut self, _now: Nanos, _arena: &'a mut Arena, burst: &mut Burst<'a>) -> Rx {
        let mut waiting = self.send.lock().unwrap();
        let n = burst.room().min(waiting.len());
        self.lent = waiting.drain(..n).collect();
        burst.extend(self.lent.iter().map(|(bytes, offload)| Frame::flat(bytes, *offload)));
        if waiting.is_empty() { Rx::Idle } else { Rx::More }
    }
    fn tx_burst(&mut self, _now: Nanos, frames: &[TxFrame<'_>], report: &mut TxReport) {
        for (i, tx) in frames.iter().enumerate() {
            let mut bytes = vec![0; tx.len()];
            tx.copy_to(&mut bytes).unwrap();
            let tag = if bytes[12..14] == [0x81, 0] { 4 } else { 0 };
            let mut seen = self.seen.lock().unwrap();
            if seen.len() >= self.room {
                report.drop(i, switch::DropReason::TxFull);
                continue;
            }
            let mark = u16::from_be_bytes([bytes[tag + 18], bytes[tag + 19]]);
            let (segments, wire) = match tx.frame.offload.gso_type {
                Offload::GSO_NONE => (1, bytes.len() - tag),
                _ => (SEGMENTS, SEGMENTS * (HEADERS + MSS)),
            };
            seen.push((mark, segments as u64, wire as u64));
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Guest,
    Uplink,
}

struct Port {
    id: PortId,
    kind: Kind,
    mac: [u8; 6],
    send: Waiting,
    seen: Seen,
    counters: Arc<switch::PortCounters>,
}

/// A chain of switches with ports of each kind.
struct Lab {
    engine: Engine,
    ports: Vec<Port>,
    now: Nanos,
    mark: u16,
    /// By mark: who sent it.
    sent: BTreeMap<u16, usize>,
}

fn trunk() -> PortConfig {
    let tagged = Box::new([VLAN].into_iter().collect::<VlanSet>());
    PortConfig { mode: PortMode::Trunk { tagged, native: None::<Native> }, ..PortConfig::access(1) }
}

impl Lab {
    /// `ports`: (the number of its switch, kind, whether it takes super-frames). `delay` of each link.
    fn new(switches: usize, ports: &[(usize, Kind, bool)], delay: Nanos) -> Lab {
        let mut engine = Engine::new().unwrap();
        let numbers: Vec<u16> = (0..switches).map(|_| engine.add_switch(SwitchConfig::default())).collect();
        let mut lab = Lab { engine, ports: vec![], now: 1000, mark: 0, sent: BTreeMap::new() };
        for pair in numbers.windows(2) {
            let end = || PortConfig { places: true, ..trunk() };
            let [(a, _), _] = lab
                .engine
                .add_link([(pair[0], end()), (pair[1], end())], &[[1, u64::from(pair[0])]], None)
                .unwrap();
            if delay > 0 {
                let way = || Impair { delay, ..Impair::default() };
                let step = Step { at: lab.now, ways: [way(), way()], up: true };
                lab.engine.set_impair(a, 0, step, vec![], lab.now).unwrap();
            }
        }
        for &(at, kind, tso) in ports {
            let base = if kind == Kind::Uplink { trunk() } else { PortConfig::access(VLAN) };
            lab.add(numbers[at], PortConfig { uplink: kind == Kind::Uplink, ..base }, kind, tso, usize::MAX);
        }
        lab
    }

    fn add(&mut self, switch: u16, config: PortConfig, kind: Kind, tso: bool, room: usize) {
        let (send, seen) = (Arc::default(), Seen::default());
        let door = Door { send: Arc::clone(&send), lent: vec![], seen: seen.clone(), tso, room, cx: None };
        let (id, counters) = self.engine.add_port(Box::new(door), switch, config).unwrap();
        let mac = [2, 0, 0, 0, 0, self.ports.len() as u8];
        self.ports.push(Port { id, kind, mac, send, seen, counters });
    }

    /// Port `from` sends a frame to the station of port `to`, or (`None`) to all; a super-frame if `gso`.
    fn send(&mut self, from: usize, to: Option<usize>, gso: bool) -> u16 {
        let dst = to.map_or([0xff; 6], |to| self.ports[to].mac);
        let mut frame = [&dst[..], &self.ports[from].mac, &[8, 0]].concat();
        frame.extend([0x45, 0, 0, 0]);
        frame.extend(self.mark.to_be_bytes());
        let mut offload = Offload::NONE;
        if gso {
            frame.extend([0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
            frame.extend([0, 9, 0, 9, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
            frame.resize(HEADERS + SEGMENTS * MSS, 7);
            let total = (frame.len() - 14) as u16;
            frame[16..18].copy_from_slice(&total.to_be_bytes());
            offload = Offload {
                flags: Offload::NEEDS_CSUM,
                gso_type: Offload::GSO_TCPV4,
                hdr_len: HEADERS as u16,
                gso_size: MSS as u16,
                csum_start: 34,
                csum_offset: 16,
            };
        } else {
            frame.resize(PLAIN, 0);
        }
        if self.ports[from].kind == Kind::Uplink {
            frame.splice(12..12, [0x81, 0, 0, VLAN as u8]);
            if gso {
                offload = Offload { hdr_len: offload.hdr_len + 4, csum_start: 38, ..offload };
            }
        }
        self.ports[from].send.lock().unwrap().push((frame, offload));
        let id = self.ports[from].id;
        self.engine.waker().kick(id);
        self.sent.insert(self.mark, from);
        // A cut super-frame numbers its segments on from here.
        self.mark += SEGMENTS as u16;
        self.mark - SEGMENTS as u16
    }

    fn settle(&mut self) {
        for _ in 0..100_000 {
            match self.engine.turn(self.now) {
                Next::Again => self.now += 1,
                // Ageing is further away than anything that is to be seen here.
                Next::Wait(Some(at)) if at < self.now + 1_000_000_000 => self.now = at.max(self.now + 1),
                Next::Wait(_) => return,
            }
        }
        panic!("the engine does not come to rest");
    }

    fn usage(&self, port: usize) -> Usage {
        self.engine.usage(self.ports[port].id)
    }

    /// What each port should have come to, from what the doors saw.
    fn expected(&self) -> Vec<Usage> {
        let mut found = vec![Usage::default(); self.ports.len()];
        let mut stayed: BTreeSet<(u16, usize)> = BTreeSet::new();
        let add = |count: &mut Count, frames, bytes| {
            count.frames += frames;
            count.bytes += bytes;
        };
        for (to, port) in self.ports.iter().enumerate() {
            for &(mark, frames, bytes) in port.seen.lock().unwrap().iter() {
                let from = self.sent[&(mark - mark % SEGMENTS as u16)];
                let outside = self.ports[from].kind == Kind::Uplink;
                if port.kind == Kind::Guest {
                    add(&mut found[to].ingress[usize::from(outside)], frames, bytes);
                }
                if outside {
                    continue;
                }
                if port.kind == Kind::Uplink {
                    add(&mut found[from].egress[1], frames, bytes);
                } else {
                    // Once, however many got it: by its segments, whoever saw them whole or cut.
                    let mss = bytes / frames;
                    for segment in 0..frames {
                        if stayed.insert((mark + segment as u16, from)) {
                            add(&mut found[from].egress[0], 1, mss);
                        }
                    }
                }
            }
        }
        found
    }

    fn assert_right(&self) {
        let found: Vec<Usage> = (0..self.ports.len()).map(|port| self.usage(port)).collect();
        assert_eq!(found, self.expected());
    }
}

use Kind::{Guest, Uplink};

fn count(frames: u64, bytes: usize) -> Count {
    Count { frames, bytes: bytes as u64 }
}

#[test]
fn a_frame_counts_for_both_ends_by_where_the_other_one_is() {
    let mut lab = Lab::new(1, &[(0, Guest, false), (0, Guest, false), (0, Uplink, false)], 0);
    // To all, from each: the others learn where it is.
    (0..3).for_each(|from| {
        lab.send(from, None, false);
        lab.settle();
    });
    lab.assert_right();
    assert_eq!(lab.usage(0).egress, [count(1, PLAIN), count(1, PLAIN)]);
    assert_eq!(lab.usage(0).ingress, [count(1, PLAIN), count(1, PLAIN)]);
    (0..3).for_each(|_| _ = lab.send(0, Some(1), false));
    (0..5).for_each(|_| _ = lab.send(1, Some(2), false));
    (0..7).for_each(|_| _ = lab.send(2, Some(0), false));
    lab.settle();
    lab.assert_right();
    assert_eq!(lab.usage(0).egress, [count(4, 4 * PLAIN), count(1, PLAIN)]);
    assert_eq!(lab.usage(0).ingress, [count(1, PLAIN), count(8, 8 * PLAIN)]);
    assert_eq!(lab.usage(1).egress, [count(1, PLAIN), count(6, 6 * PLAIN)]);
    assert_eq!(lab.usage(2), Usage::default(), "an uplink is nobody's");
    // What guests sent by the uplink is what it sent, but for tags.
    assert_eq!(lab.ports[2].counters.tx_bytes.get(), 7 * (PLAIN as u64 + 4));
}

#[test]
fn the_uplink_may_be_switches_away_and_the_links_slow() {
    for delay in [0, 5_000_000] {
        let ports = [(0, Guest, false), (1, Guest, false), (2, Uplink, false), (2, Guest, false)];
        let mut lab = Lab::new(3, &ports, delay);
        (0..4).for_each(|from| {
            lab.send(from, None, false);
            lab.settle();
        });
        // All in the fabric once, although two switches with guests got a copy.
        assert_eq!(lab.usage(0).egress, [count(1, PLAIN), count(1, PLAIN)]);
        lab.assert_right();
        (0..70).for_each(|_| {
            lab.send(0, Some(2), false);
            lab.send(1, Some(3), false);
            lab.send(2, Some(0), false);
        });
        lab.settle();
        lab.assert_right();
        assert_eq!(lab.usage(0).egress, [count(1, PLAIN), count(71, 71 * PLAIN)]);
        assert_eq!(lab.usage(0).ingress, [count(2, 2 * PLAIN), count(71, 71 * PLAIN)]);
        assert_eq!(lab.usage(1).egress[0], count(71, 71 * PLAIN));
        assert_eq!(lab.usage(3).ingress[0], count(72, 72 * PLAIN));
    }
}

#[test]
fn super_frames_count_as_their_segments_whole_or_cut() {
    for tso in [false, true] {
        let ports = [(0, Guest, true), (1, Guest, tso), (1, Uplink, tso)];
        for delay in [0, 1_000_000] {
            let mut lab = Lab::new(2, &ports, delay);
            (0..3).for_each(|from| {
                lab.send(from, None, false);
                lab.settle();
            });
            let before = lab.usage(0);
            lab.send(0, Some(1), true);
            lab.send(0, Some(2), true);
            lab.send(2, Some(0), true);
            lab.settle();
            lab.assert_right();
            let (now, all) = (lab.usage(0), (SEGMENTS * (HEADERS + MSS)) as u64);
            for (now, before) in [
                (now.egress[0], before.egress[0]),
                (now.egress[1], before.egress[1]),
                (now.ingress[1], before.ingress[1]),
            ] {
                assert_eq!(now.frames - before.frames, SEGMENTS as u64);
                assert_eq!(now.bytes - before.bytes, all);
            }
        }
    }
}

#[test]
fn what_is_dropped_counts_for_nobody() {
    let mut lab = Lab::new(1, &[(0, Guest, false)], 0);
    lab.add(0, PortConfig::access(VLAN), Guest, false, 11);
    lab.send(1, None, false);
    lab.settle();
    (0..100).for_each(|_| _ = lab.send(0, Some(1), false));
    // Not in its VLAN.
    lab.ports[0].send.lock().unwrap().push((vec![0x81; 60], Offload::NONE));
    lab.settle();
    lab.assert_right();
    assert_eq!(lab.usage(0).egress[0], count(11, 11 * PLAIN));
    assert_eq!(lab.usage(1).ingress[0], count(11, 11 * PLAIN));
}

#[test]
fn what_waits_for_a_limit_counts_when_it_has_passed() {
    let mut lab = Lab::new(2, &[(0, Guest, true), (1, Uplink, true)], 0);
    let limits =
        Limits { ingress: Limit { rate: 1_000_000, burst: 500, ..Limit::default() }, ..Limits::default() };
    let config = PortConfig { limits: Some(Box::new(limits)), ..PortConfig::access(VLAN) };
    lab.add(1, config, Guest, false, usize::MAX);
    lab.send(2, None, false);
    lab.settle();
    for _ in 0..50 {
        lab.send(0, Some(2), false);
        lab.send(0, None, false);
        lab.send(1, Some(2), true);
    }
    lab.engine.turn(lab.now);
    assert!(lab.usage(2).ingress[0].frames < 10);
    lab.settle();
    lab.assert_right();
    assert_eq!(lab.usage(2).ingress[0], count(100, 100 * PLAIN));
    assert_eq!(lab.usage(0).egress, [count(100, 100 * PLAIN), count(50, 50 * PLAIN)]);
    assert_eq!(lab.usage(2).ingress[1], count(250, 50 * SEGMENTS * (HEADERS + MSS)));
}

#[test]
fn a_port_that_is_gone_says_what_it_came_to_and_its_place_is_nobodys() {
    let mut lab = Lab::new(1, &[(0, Guest, false), (0, Guest, false)], 0);
    lab.send(0, None, false);
    lab.settle();
    let id = lab.ports[0].id;
    assert_eq!(lab.engine.remove_port(id).unwrap().egress[0], count(1, PLAIN));
    assert_eq!(lab.engine.usage(id), Usage::default());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is sent in a chain of switches: the ledger says what the doors saw. A guest at each
    /// switch hears all floods, so that there is always somebody for whom a flooded frame stayed inside.
    #[test]
    fn the_ledger_is_right(
        switches in 1usize..4,
        more in prop::collection::vec((0usize..4, any::<bool>(), any::<bool>()), 1..5),
        sends in prop::collection::vec((0usize..9, 0usize..10, any::<bool>()), 1..150),
        delay in prop::sample::select(vec![0, 1_000_000]),
        burst in 1usize..70,
    ) {
        let mut ports: Vec<_> = (0..2 * switches).map(|at| (at % switches, Guest, at % 3 == 0)).collect();
        ports.extend(more.iter().map(|(at, uplink, tso)| {
            (at % switches, if *uplink { Uplink } else { Guest }, *tso)
        }));
        let mut lab = Lab::new(switches, &ports, delay);
        for (n, (from, to, gso)) in sends.into_iter().enumerate() {
            let (from, to) = (from % ports.len(), to % (ports.len() + 1));
            lab.send(from, Some(to).filter(|to| *to < ports.len()), gso);
            if n % burst == 0 {
                lab.settle();
            }
        }
        lab.settle();
        lab.assert_right();
    }
}
