//! A hub between guests: every frame reaches every other guest, after a delay, or not at all.

use crate::offload::Completer;
use crate::stack::{Net, SocketId, StackConfig, StackEnd, StackError, StackNic, stack};
use crate::{Arena, Burst, Context, Event, Events, Frame, Nic, Offload, Poller, TxFrame, TxReport, Waker};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use switch::{Nanos, TagEdit};

pub const MS: Nanos = 1_000_000;
pub const SECOND: Nanos = 1_000_000_000;

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Guest number `n` (from 1): 10.0.0.n/24 and fd00::n/64.
pub fn config(n: u8) -> StackConfig {
    let mut config = StackConfig::new([2, 0, 0, 0, 0, n], u64::from(n));
    config.addresses = vec![
        Net { address: IpAddr::from([10, 0, 0, n]), prefix: 24 },
        Net { address: IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(n)]), prefix: 64 },
    ];
    config
}

/// What the wire does to frames; probabilities in percent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Impair {
    pub delay: Nanos,
    pub loss: u64,
    pub duplicate: u64,
    pub reorder: u64,
    /// Checksums are computed on the wire, as for a guest without offloads.
    pub plain: bool,
}

pub struct Hub {
    pub nics: Vec<StackNic>,
    pub ends: Vec<StackEnd>,
    pub now: Nanos,
    pub impair: Impair,
    pub events: Arc<Events>,
    /// Frames that went over the wire, as they went, when they are kept.
    pub trace: Option<Vec<(Nanos, Vec<u8>)>>,
    /// Bytes of the longest super-frame.
    pub longest: usize,
    pub frames: usize,
    flying: BTreeMap<(Nanos, u64), (usize, Vec<u8>, Offload)>,
    waker: Arc<Waker>,
    arena: Arena,
    completer: Completer,
    random: u64,
    count: u64,
}

impl Hub {
    pub fn new(configs: impl IntoIterator<Item = StackConfig>) -> Self {
        let waker = Arc::new(Waker::new().unwrap());
        let poller = Arc::new(Poller::new().unwrap());
        let events = Arc::new(Events::new().unwrap());
        let (mut nics, mut ends) = (Vec::new(), Vec::new());
        for config in configs {
            let (mut nic, end) = stack(&config).unwrap();
            let port = nics.len() as u16;
            let (waker, events, poller) = (waker.clone(), events.clone(), poller.clone());
            nic.attach(Context { port, poller, waker, events }, 0).unwrap();
            nics.push(nic);
            ends.push(end);
        }
        Hub {
            nics,
            ends,
            now: 0,
            impair: Impair::default(),
            events,
            trace: None,
            longest: 0,
            frames: 0,
            flying: BTreeMap::new(),
            waker,
            arena: Arena::new(),
            completer: Completer::new(),
            random: 1,
            count: 0,
        }
    }

    /// Have guest number `at` (from 0) start anew, knowing of nothing.
    pub fn restart(&mut self, at: usize, config: &StackConfig) {
        let (mut nic, end) = stack(config).unwrap();
        let poller = Arc::new(Poller::new().unwrap());
        let (waker, events) = (self.waker.clone(), self.events.clone());
        nic.attach(Context { port: at as u16, poller, waker, events }, self.now).unwrap();
        (self.nics[at], self.ends[at]) = (nic, end);
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % 100 < percent
    }

    fn fly(&mut self, from: usize, bytes: Vec<u8>, offload: Offload) {
        if let Some(trace) = &mut self.trace {
            trace.push((self.now, bytes.clone()));
        }
        self.frames += 1;
        if offload.gso_type != Offload::GSO_NONE && from != usize::MAX {
            assert_eq!(offload.vet(bytes.len(), &bytes), Some(offload));
            self.longest = self.longest.max(bytes.len());
        }
        let copies = if self.chance(self.impair.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            if self.chance(self.impair.loss) {
                continue;
            }
            let late = if self.chance(self.impair.reorder) { self.impair.delay + MS } else { 0 };
            self.count += 1;
            let at = self.now + self.impair.delay + late;
            self.flying.insert((at, self.count), (from, bytes.clone(), offload));
        }
    }

    /// Put a frame on the wire that no guest sent.
    pub fn inject(&mut self, bytes: &[u8], offload: Offload) {
        self.fly(usize::MAX, bytes.to_vec(), offload);
    }

    /// One turn of all guests. Returns whether anything moved.
    fn turn(&mut self) -> bool {
        let mut moved = false;
        while let Some(entry) = self.flying.first_entry()
            && entry.key().0 <= self.now
        {
            let (from, bytes, offload) = entry.remove();
            let frame = Frame::flat(&bytes, offload);
            let frame = TxFrame { frame: &frame, edit: TagEdit::NONE };
            for (i, nic) in self.nics.iter_mut().enumerate() {
                if i == from {
                    continue;
                }
                let mut report = TxReport::default();
                if self.impair.plain && offload != Offload::NONE {
                    let caps = crate::Caps::plain(nic.caps().max_frame);
                    let mut emit = |pieces: &[TxFrame<'_>]| nic.tx_burst(self.now, pieces, &mut report);
                    // A hostile header is dropped here, as the engine does.
                    let _ = self.completer.complete(&frame, &caps, &mut emit);
                } else {
                    nic.tx_burst(self.now, &[frame], &mut report);
                }
            }
            moved = true;
        }
        self.waker.take(|_| ());
        for i in 0..self.nics.len() {
            let due = self.nics[i].deadline().is_some_and(|at| at <= self.now);
            if due {
                self.nics[i].tick(self.now);
            }
            for turn in 0.. {
                assert!(turn < 10_000, "guest {i} has more to do for ever");
                let mut sent = Vec::new();
                let mut burst = Burst::new();
                let rx = self.nics[i].rx_burst(self.now, &mut self.arena, &mut burst);
                for frame in &burst {
                    let mut bytes = vec![0; frame.len()];
                    TxFrame { frame, edit: TagEdit::NONE }.copy_to(&mut bytes).unwrap();
                    sent.push((bytes, frame.offload));
                }
                drop(burst);
                moved |= !sent.is_empty();
                for (bytes, offload) in sent {
                    self.fly(i, bytes, offload);
                }
                if rx == crate::Rx::Idle {
                    break;
                }
                moved = true;
            }
        }
        moved
    }

    /// When something will happen by itself.
    pub fn next(&self) -> Option<Nanos> {
        let flying = self.flying.first_key_value().map(|((at, _), _)| *at);
        self.nics.iter().filter_map(Nic::deadline).chain(flying).min()
    }

    /// Let time go on until `done`, at most until `until`. Returns whether it was done.
    pub fn run(&mut self, until: Nanos, mut done: impl FnMut(&mut Hub) -> bool) -> bool {
        loop {
            while self.turn() {}
            if done(self) {
                return true;
            }
            // What `done` did may want to be sent now.
            if self.turn() {
                continue;
            }
            match self.next() {
                Some(at) if at <= until => self.now = self.now.max(at),
                _ => {
                    self.now = self.now.max(until);
                    return false;
                }
            }
        }
    }

    /// Let `duration` pass.
    pub fn pass(&mut self, duration: Nanos) {
        let until = self.now + duration;
        self.run(until, |_| false);
    }

    /// Wait for `f` to do other than block, at most a minute.
    pub fn wait<T>(&mut self, mut f: impl FnMut(&mut Hub) -> Result<T, StackError>) -> Result<T, StackError> {
        let until = self.now + 300 * SECOND;
        let mut result = Err(StackError::WouldBlock);
        self.run(until, |hub| {
            result = f(hub);
            !matches!(result, Err(StackError::WouldBlock))
        });
        result
    }

    /// A connection from guest `a` to guest `b`, at `port` of `address`: both ends of it.
    pub fn connect(&mut self, a: usize, b: usize, address: &str, port: u16) -> (SocketId, SocketId) {
        let listener = self.ends[b].tcp_listen(None, port, 16).unwrap();
        let client = self.ends[a].tcp_connect(SocketAddr::new(ip(address), port), None, 0).unwrap();
        self.wait(|hub| hub.ends[a].tcp_connected(client)).unwrap();
        let server = self.wait(|hub| hub.ends[b].tcp_accept(listener)).unwrap();
        self.ends[b].close(listener).unwrap();
        (client, server)
    }

    /// Send `data` from one socket to another; what arrived.
    pub fn transfer(
        &mut self,
        (a, from): (usize, SocketId),
        (b, to): (usize, SocketId),
        data: &[u8],
    ) -> Vec<u8> {
        let (mut sent, mut got, mut shut) = (0, Vec::new(), false);
        let mut buffer = vec![0; 100_000];
        let until = self.now + 3600 * SECOND;
        let whole = self.run(until, |hub| {
            while sent < data.len() {
                match hub.ends[a].tcp_send(from, &data[sent..(sent + 65_536).min(data.len())]) {
                    Ok(n) => sent += n,
                    Err(StackError::WouldBlock) => break,
                    Err(error) => panic!("{error} after {sent} bytes sent"),
                }
            }
            if sent == data.len() && !shut {
                shut = true;
                hub.ends[a].tcp_shutdown(from).unwrap();
            }
            loop {
                match hub.ends[b].tcp_recv(to, &mut buffer) {
                    Ok(0) => return true,
                    Ok(n) => got.extend_from_slice(&buffer[..n]),
                    Err(StackError::WouldBlock) => return false,
                    Err(error) => panic!("{error} after {} bytes received", got.len()),
                }
            }
        });
        assert!(whole, "sent {sent}, got {} of {} at {}", got.len(), data.len(), self.now);
        got
    }

    /// The events since the last call.
    pub fn take_events(&self) -> Vec<Event> {
        self.events.take().0.into()
    }

    /// Ping `target` from guest `a`: the time it took.
    pub fn ping(&mut self, a: usize, target: &str, size: usize) -> Result<Nanos, StackError> {
        let ping = self.ends[a].ping_open(ip(target), 64)?;
        self.ends[a].ping_send(ping, 1, size).unwrap();
        let result = self.wait(|hub| hub.ends[a].ping_recv(ping));
        self.ends[a].close(ping).unwrap();
        result?.1
    }
}

pub fn bytes(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 31 + i / 255 + i / 65_537) as u8).collect()
}
