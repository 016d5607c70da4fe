//! What a frame costs in the engine itself: a door that always has a burst, a door that takes
//! everything, and the switch between them. No copy, no kernel.
//!
//!     cargo run --profile fast --example turn -- [flows] [turns]
//!
//! One line: nanoseconds a frame. Compare runs of one session only; machines differ and drift.
#![allow(clippy::unwrap_used)]

use _native::engine::Engine;
use nics::{Arena, BURST, Burst, Caps, Context, Frame, Nic, Offload, Rx, TxFrame, TxReport};
use std::io;
use std::time::Instant;
use switch::{Nanos, PortConfig, SwitchConfig};

/// Lends the same frames again and again; takes whatever comes.
struct Mill {
    frames: Vec<[u8; 60]>,
    at: usize,
    busy: bool,
    cx: Option<Context>,
}

impl Mill {
    fn new(me: u8, peer: u8, flows: usize, busy: bool) -> Mill {
        let frames = (0..flows)
            .map(|flow| {
                let mut frame = [0; 60];
                let [high, low] = (flow as u16).to_be_bytes();
                frame[..6].copy_from_slice(&[2, 0, 0, high, low, peer]);
                frame[6..12].copy_from_slice(&[2, 0, 0, high, low, me]);
                frame[12] = 8;
                frame
            })
            .collect();
        Mill { frames, at: 0, busy, cx: None }
    }
}

impl Nic for Mill {
    fn kind(&self) -> &'static str {
        "mill"
    }
    fn caps(&self) -> Caps {
        Caps::plain(1518)
    }
    fn carrier(&self) -> bool {
        true
    }
    fn attach(&mut self, cx: Context, _now: Nanos) -> io::Result<()> {
        self.cx = Some(cx);
        Ok(())
    }
    fn rx_burst<'a>(&'a mut self, _now: Nanos, _arena: &'a mut Arena, burst: &mut Burst<'a>) -> Rx {
        let n = if self.busy { BURST } else { self.frames.len().min(BURST) };
        for _ in 0..n {
            self.at = (self.at + 1) % self.frames.len();
            burst.push(Frame::flat(&self.frames[self.at], Offload::NONE));
        }
        if self.busy || self.at != 0 { Rx::More } else { Rx::Idle }
    }
    fn tx_burst(&mut self, _now: Nanos, frames: &[TxFrame<'_>], _report: &mut TxReport) {
        std::hint::black_box(frames);
    }
}

fn main() {
    let mut words = std::env::args().skip(1).map(|word| word.parse::<usize>().unwrap());
    let (flows, turns) = (words.next().unwrap_or(1), words.next().unwrap_or(200_000));
    let mut engine = Engine::new().unwrap();
    let switch = engine.add_switch(SwitchConfig::default());
    let config = PortConfig { mac_limit: 1 << 20, ..PortConfig::access(10) };
    engine.add_port(Box::new(Mill::new(2, 1, flows, false)), switch, config.clone()).unwrap();
    let (_, counters) = engine.add_port(Box::new(Mill::new(1, 2, flows, true)), switch, config).unwrap();
    for now in 0..1000 {
        engine.turn(now);
    }
    let (before, begun) = (counters.rx_frames.get(), Instant::now());
    for now in 0..turns as u64 {
        engine.turn(1000 + now);
    }
    let (frames, spent) = (counters.rx_frames.get() - before, begun.elapsed());
    println!("{:.2} ns a frame, {flows} flows, {frames} frames", spent.as_nanos() as f64 / frames as f64);
}
