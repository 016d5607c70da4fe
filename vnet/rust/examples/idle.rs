//! What a turn costs while `vhost-user` guests are polled and have nothing: half of it is what a frame waits.
//!
//!     cargo run --profile fast --example idle -- /tmp/a /tmp/b &
//!     target/release/vhost-load --mode idle --seconds 30 --socket /tmp/a --socket /tmp/b
//!
//! One line once both are there: nanoseconds a turn, of the best thousand in a row. No clock is read in it.
#![allow(clippy::unwrap_used)]

use _native::engine::Engine;
use nics::socket::{Endpoint, Role};
use nics::vhost_user::{Config, VhostUser};
use std::time::Instant;
use switch::{PortConfig, SwitchConfig};

fn main() {
    let mut engine = Engine::new().unwrap();
    engine.set_spin(u64::MAX);
    let switch = engine.add_switch(SwitchConfig::default());
    let mut ports = vec![];
    for path in std::env::args().skip(1) {
        let config = Config {
            endpoint: Endpoint::Path(path.into()),
            role: Role::Server,
            queues: 1,
            mtu: 1500,
            offloads: true,
            mac: None,
        };
        let nic = Box::new(VhostUser::open(&config).unwrap());
        ports.push(engine.add_port(nic, switch, PortConfig::access(10)).unwrap().0);
    }
    let mut now = 0;
    while ports.iter().any(|port| !engine.carrier(*port).unwrap()) {
        now += 1;
        engine.turn(now);
    }
    let mut best = f64::MAX;
    for _ in 0..10_000 {
        let begun = Instant::now();
        for _ in 0..1000 {
            now += 100;
            engine.turn(now);
        }
        best = best.min(begun.elapsed().as_nanos() as f64 / 1000.0);
    }
    println!("{best:.1} ns a turn");
}
