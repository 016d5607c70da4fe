//! What guard and security groups cost a frame: `cargo run --release -p vnet-switch --example groups [NAME]`.
//!
//! As `cycles`, but for whole packets of 60 bytes and over 10,000 tracked connections, with a hundred
//! rules: nanoseconds a frame for `classify`, the best of several rounds. Of cases with NAME in them; a dot stands for
//! their end.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;
use switch::{Alike, Decision, Groups, Guard, Lookup, Out, PortConfig, Rule, Switch, SwitchConfig, View};

const BURST: usize = 64;
const MANY: usize = 10_000;

type Bytes = [u8; 60];

/// From guest 1 to guest 2 (or back) by flow: UDP, or TCP with these flags. Flows are of as many ports, or of as many
/// peers behind guest 1.
fn frame(back: bool, flow: usize, peers: bool, tcp: Option<u8>) -> Bytes {
    let mut bytes = [0; 60];
    let (own, other) = if back { (2, 1) } else { (1, 2) };
    bytes[..14].copy_from_slice(&[2, 0, 0, 0, 0, other, 2, 0, 0, 0, 0, own, 8, 0]);
    let proto = if tcp.is_some() { 6 } else { 17 };
    bytes[14..34]
        .copy_from_slice(&[0x45, 0, 0, 46, 0, 0, 0, 0, 64, proto, 0, 0, 10, 0, 0, own, 10, 0, 0, other]);
    if peers {
        let at = if back { 30 } else { 26 };
        bytes[at + 1..at + 3].copy_from_slice(&(256 + flow as u16).to_be_bytes());
    }
    let port = (1024 + if peers { 0 } else { flow as u16 }).to_be_bytes();
    let (from, to) = if back { (34, 36) } else { (36, 34) };
    bytes[from..from + 2].copy_from_slice(&[0, 9]);
    bytes[to..to + 2].copy_from_slice(&port);
    if let Some(flags) = tcp {
        let syn = u32::from(flags & 2 == 0);
        bytes[38..42].copy_from_slice(&(100 + syn).to_be_bytes());
        bytes[42..46].copy_from_slice(&(if flags & 16 == 0 { 0_u32 } else { 101 }).to_be_bytes());
        bytes[46..50].copy_from_slice(&[0x50, flags, 200, 0]);
    } else {
        bytes[38..40].copy_from_slice(&[0, 26]);
    }
    bytes
}

fn view(bytes: &Bytes) -> View<'_> {
    View::plain(bytes, 60)
}

fn config(own: u8, guarded: bool, groups: Option<&Arc<Groups>>) -> PortConfig {
    let mut guard = Guard::new([2, 0, 0, 0, 0, own]);
    assert!(guard.add_addresses([10, 0, 0, own].into(), 32, None, None));
    PortConfig {
        guard: guarded.then(|| Box::new(guard)),
        groups: groups.cloned(),
        connections: 1 << 20,
        ..PortConfig::access(1)
    }
}

fn rules() -> Vec<Rule> {
    let rule = |n: u8| Rule {
        protocol: Some(6),
        numbers: (100 + u16::from(n), 100 + u16::from(n)),
        remotes: Some(vec![([198, 51, n, 0].into(), 24, None)]),
    };
    let last =
        Rule { protocol: None, numbers: (0, u16::MAX), remotes: Some(vec![([10, 0, 0, 0].into(), 8, None)]) };
    (0..99).map(rule).chain([last]).collect()
}

/// As the engine has it (`nics::cache::look_up`).
fn look_up(lookup: Lookup<'_>) -> (u64, u64) {
    #[cfg(target_arch = "x86_64")]
    {
        fn ask(ptr: *const u8) {
            // SAFETY: a prefetch never faults, and changes nothing.
            unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(ptr.cast()) };
        }
        #[target_feature(enable = "avx2")]
        fn wide(lookup: Lookup<'_>) -> (u64, u64) {
            lookup.run(ask)
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: this processor has it.
            return unsafe { wide(lookup) };
        }
        lookup.run(ask)
    }
    #[cfg(not(target_arch = "x86_64"))]
    lookup.run(|_| ())
}

/// Payload of long frames, copied after each burst, from and to as many buffers as rings have: what is not used
/// for a burst leaves the processor's second cache meanwhile.
struct Payload {
    from: Vec<u8>,
    to: Vec<u8>,
    at: usize,
}

const LONG: usize = 1514;
const RINGS: usize = 4 << 20;

impl Payload {
    fn new() -> Payload {
        Payload { from: vec![1; RINGS], to: vec![2; RINGS], at: 0 }
    }

    fn copy(&mut self, frames: usize) {
        for _ in 0..frames {
            let end = self.at + LONG;
            self.to[self.at..end].copy_from_slice(&self.from[self.at..end]);
            black_box(&self.to);
            self.at = (self.at + 2048) % (RINGS - 2048);
        }
    }
}

/// The ports of frames as they stand there.
fn ports(burst: &[Bytes]) -> Vec<u32> {
    burst.iter().map(|bytes| u32::from_ne_bytes(*bytes[Alike::PORTS..].first_chunk().unwrap())).collect()
}

/// What a door would say of a burst.
fn alike<'a>(burst: &[Bytes], ports: &'a [u32]) -> Option<Alike<'a>> {
    let (first, others) = burst.split_first()?;
    let head: &[u8; Alike::BYTES] = first.first_chunk()?;
    let mut differ = [0; Alike::BYTES];
    for other in others {
        differ.iter_mut().zip(head).zip(other).for_each(|((differ, one), other)| *differ |= one ^ other);
    }
    let known = ports.first() != ports.last();
    (differ[..12] == [0; 12]).then(|| Alike::new(differ, known.then_some(ports)))
}

/// What is measured.
#[derive(Clone, Copy)]
struct Case<'a> {
    tcp: bool,
    peers: bool,
    /// Flows that are busy.
    busy: usize,
    guarded: bool,
    groups: Option<&'a Arc<Groups>>,
    long: bool,
}

fn measure(name: &str, Case { tcp, peers, busy, guarded, groups, long }: Case<'_>) {
    if std::env::args().nth(1).is_some_and(|only| !format!("{name}.").contains(&only)) {
        return;
    }
    let mut switch = Switch::new(SwitchConfig::default());
    switch.set_look_up(look_up);
    switch.add_port(0, config(1, guarded, groups)).unwrap();
    switch.add_port(1, config(2, guarded, groups)).unwrap();
    let mut out = [Decision::default(); BURST];
    let mut say = |ingress: u16, bytes: Bytes| {
        switch.classify(1, ingress, [view(&bytes)], &mut out);
        if let (Out::Flood(_), other) = (out[0].out, 1 - ingress) {
            switch.egress(other, &out[0], &view(&bytes)).unwrap();
        }
    };
    for flow in 0..MANY {
        say(0, frame(false, flow, peers, tcp.then_some(2)));
        say(1, frame(true, flow, peers, tcp.then_some(18)));
        say(0, frame(false, flow, peers, tcp.then_some(16)));
    }
    assert_eq!(switch.connection_count(0).0, if groups.is_some() { MANY as u32 } else { 0 });
    // In an order that no prefetcher knows.
    let frames: Vec<Bytes> =
        (0..MANY).map(|n| frame(false, n * 7919 % busy, peers, tcp.then_some(16))).collect();
    let ports: Vec<Vec<u32>> = frames.chunks(BURST).map(ports).collect();
    let alike: Vec<_> = frames.chunks(BURST).zip(&ports).map(|(burst, ports)| alike(burst, ports)).collect();
    let rounds = std::env::var("ROUNDS").map_or(15, |n| n.parse().unwrap());
    let mut best = f64::MAX;
    let mut payload = Payload::new();
    for _ in 0..rounds {
        let start = Instant::now();
        let mut done = 0;
        while done < 1 << 20 {
            for (burst, alike) in frames.chunks(BURST).zip(&alike) {
                let views = burst.iter().map(view);
                let n = switch.classify_alike(black_box(2), 0, views, alike.as_ref(), &mut out);
                done += n;
                black_box(&out);
                if long {
                    payload.copy(n);
                }
            }
        }
        best = best.min(start.elapsed().as_nanos() as f64 / done as f64);
    }
    assert_eq!(out[0].out, Out::Port(1), "or it measures something else");
    println!("{name:<60} {best:>9.2}");
}

fn main() {
    println!("{:<60} {:>9}", "ns a frame of 64 bytes", "classify");
    let groups = Arc::new(Groups::new(&rules(), &rules(), false));
    let long = ", payload of 1,514 B copied";
    for (protocol, tcp, size) in [("udp", false, ""), ("tcp", true, ""), ("udp", false, long)] {
        for (flows, busy) in [("1 flow", 1), ("10,000 flows", MANY)] {
            for (guard, groups) in [("plain", None), ("guard", None), ("guard and groups", Some(&groups))] {
                let name = format!("{protocol}, {flows}, {guard}{size}");
                let (guarded, long) = (guard != "plain", !size.is_empty());
                measure(&name, Case { tcp, peers: false, busy, guarded, groups, long });
            }
        }
    }
    for (name, groups) in [("plain", None), ("groups", Some(&groups))] {
        let case = Case { tcp: false, peers: true, busy: MANY, guarded: false, groups, long: false };
        measure(&format!("udp, 10,000 peers, {name}"), case);
    }
    println!("{} bytes of rules", groups.memory());
}
