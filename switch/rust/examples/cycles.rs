//! What classifying a frame costs: `cargo run --release -p vnet-switch --example cycles [NAME]`.
//!
//! Bursts of 64 frames of 64 bytes that lie ready in the cache, as a door would lend them; time per
//! frame for `classify` alone and with one `egress` a frame. The best of several rounds, because
//! whatever else the machine does only ever adds.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Instant;
use switch::{Decision, Guard, Out, PortConfig, PortMode, Switch, SwitchConfig, View, VlanSet};

const BURST: usize = 64;

type Bytes = [u8; 64];

fn mac(n: u32) -> [u8; 6] {
    let [a, b, c, d] = n.to_be_bytes();
    [2, 0, a, b, c, d]
}

fn frame(dst: u32, src: u32, vid: Option<u16>) -> Bytes {
    let mut bytes = [0; 64];
    bytes[..6].copy_from_slice(&mac(dst));
    bytes[6..12].copy_from_slice(&mac(src));
    match vid {
        Some(vid) => {
            bytes[12..14].copy_from_slice(&[0x81, 0]);
            bytes[14..16].copy_from_slice(&vid.to_be_bytes());
            bytes[16] = 8;
        }
        None => bytes[12] = 8,
    }
    bytes
}

/// A cheap source of numbers that the branch predictor can't learn.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (((self.0 >> 33) * u64::from(below)) >> 31) as u32
    }
}

fn trunk(vlans: impl IntoIterator<Item = u16>) -> PortConfig {
    let tagged = Box::new(vlans.into_iter().collect::<VlanSet>());
    PortConfig { mode: PortMode::Trunk { tagged, native: None }, ..PortConfig::access(1) }
}

/// Half of the stations live at port 0, half at port 1; all talk from 0 to 1. Bursts are cut from
/// `frames` in turn.
fn measure(name: &str, stations: u32, vid: Option<u16>, frames: &[Bytes]) {
    measure_guarded(name, stations, vid, frames, None);
}

/// With a guard at port 0.
fn measure_guarded(name: &str, stations: u32, vid: Option<u16>, frames: &[Bytes], guard: Option<&Guard>) {
    if std::env::args().nth(1).is_some_and(|only| !name.contains(&only)) {
        return;
    }
    let mut switch = Switch::new(SwitchConfig { vlan_limit: u32::MAX, ..SwitchConfig::default() });
    for port in 0..2 {
        let mut config = if vid.is_some() { trunk(1..=100) } else { PortConfig::access(1) };
        config.mac_limit = u32::MAX;
        config.guard = guard.filter(|_| port == 0).map(|guard| Box::new(guard.clone()));
        switch.add_port(port, config).unwrap();
    }
    let mut out = [Decision::default(); BURST];
    let mut slowest = 0;
    for n in 0..stations {
        let bytes = frame(u32::MAX, n, vid);
        let start = Instant::now();
        switch.classify(0, (n % 2) as u16, [view(&bytes)], &mut out);
        slowest = slowest.max(start.elapsed().as_micros());
    }
    let rounds = std::env::var("ROUNDS").map_or(15, |n| n.parse().unwrap());
    let bursts = (1 << 20) / BURST;
    let (mut classify, mut both) = (f64::MAX, f64::MAX);
    for round in 0..rounds * 2 {
        let start = Instant::now();
        let mut chunks = frames.chunks_exact(BURST).cycle();
        for _ in 0..bursts {
            let burst = chunks.next().unwrap();
            let n = switch.classify(black_box(1), 0, burst.iter().map(view), &mut out);
            if round % 2 == 1 {
                for (bytes, decision) in burst.iter().zip(&out[..n]) {
                    if let Out::Port(port) = decision.out {
                        black_box(switch.egress(port, decision, &view(bytes))).ok();
                    }
                }
            }
            black_box(&out);
        }
        let took = start.elapsed().as_nanos() as f64 / (bursts * BURST) as f64;
        let best = if round % 2 == 1 { &mut both } else { &mut classify };
        *best = best.min(took);
    }
    let (fdb, _) = switch.memory();
    let each = fdb as f64 / f64::from(stations);
    println!("{name:<34} {classify:>9.2} {both:>11.2} {each:>12.1} {slowest:>17}");
}

/// The same frames as UDP over IPv4, and the guard of their sender.
fn guarded(frames: &[Bytes]) -> (Vec<Bytes>, Guard) {
    let packet = |bytes: &Bytes| {
        let mut bytes = *bytes;
        bytes[14..34].copy_from_slice(&[0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes
    };
    let mut guard = Guard::new(frames[0][6..12].try_into().unwrap());
    assert!(guard.add_addresses([10, 0, 0, 1].into(), 32, None, None));
    for frame in frames {
        guard.add_mac(frame[6..12].try_into().unwrap());
    }
    (frames.iter().map(packet).collect(), guard)
}

fn view(bytes: &Bytes) -> View<'_> {
    View::plain(bytes, 64)
}

/// `n` random pairs among the stations.
fn pairs(stations: u32, n: usize, vid: Option<u16>) -> Vec<Bytes> {
    let mut dice = Dice(1);
    let half = stations / 2;
    (0..n).map(|_| frame(dice.roll(half) * 2 + 1, dice.roll(half) * 2, vid)).collect()
}

fn main() {
    println!(
        "{:<34} {:>9} {:>11} {:>12} {:>17}",
        "ns a frame of 64 bytes", "classify", "and egress", "bytes a MAC", "slowest learn, us"
    );
    let one = pairs(2, BURST, None);
    measure("1 flow, access", 2, None, &one);
    measure("1 flow, tagged", 2, Some(7), &pairs(2, BURST, Some(7)));
    let (packets, guard) = guarded(&one);
    measure_guarded("1 flow, guarded", 2, None, &packets, Some(&guard));
    // Two flows, in turn: the decision of the frame before never fits.
    let two: Vec<_> = (0..BURST as u32).map(|i| frame(i % 2 * 2 + 1, i % 2 * 2, None)).collect();
    measure("2 flows in turn, access", 4, None, &two);
    // Each to one other.
    let couples: Vec<_> = (0..1 << 12).map(|i| frame(i % 1000 * 2 + 1, i % 1000 * 2, None)).collect();
    measure("1,000 couples, access", 2000, None, &couples);
    let (packets, guard) = guarded(&couples);
    measure_guarded("1,000 couples, guarded", 2000, None, &packets, Some(&guard));
    measure("64 MACs, access", 64, None, &pairs(64, 1 << 12, None));
    measure("1,000 MACs, access", 1000, None, &pairs(1000, 1 << 12, None));
    let (packets, guard) = guarded(&pairs(1000, 1 << 12, None));
    measure_guarded("1,000 MACs, guarded", 1000, None, &packets, Some(&guard));
    measure("1,000 MACs, tagged", 1000, Some(7), &pairs(1000, 1 << 12, Some(7)));
    // More frames than fit the cache would measure the frames; 4,096 of them touch 8,192 stations.
    measure("100,000 MACs, 4,096 pairs", 100_000, None, &pairs(100_000, 1 << 12, None));
    measure("100,000 MACs, 65,536 pairs", 100_000, None, &pairs(100_000, 1 << 16, None));
    measure("1,000,000 MACs, 65,536 pairs", 1_000_000, None, &pairs(1_000_000, 1 << 16, None));
}
