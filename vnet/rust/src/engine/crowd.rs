//! Crowds: several flows come from TAPs in bulk at once, and the engine's thread has little time left.
//!
//! What is written to a TAP the guest's kernel receives on the CPU of who writes, which is ours. To a guest with one
//! flow that is good: its acknowledgement is still in the cache. Of several the kernel does so much for each
//! acknowledgement (the next super-frames, the timer that paces them, the memory of what was acknowledged) that
//! with fifty guests it takes a third of our time, while other CPUs have some left. So upstairs is told of the
//! ports that flows of a crowd come from, and has their kernels receive on all CPUs (`nics/tap.py`): the data's
//! receivers are not among them, and would lose by it.
//!
//! Flows are told apart by the first frame of each burst, and by so few bits that two may look like one. No clock is
//! read: a turn in which nothing came counts as time to spare.

use super::ports::PortSet;
use switch::{Nanos, PortId};

/// So many flows make a crowd ...
const FLOWS: u32 = 3;
/// ... with bursts of so many bytes ...
const BULK: u64 = 32 << 10;
/// ... in so long a time, of which less than one part in `SPARE` was to spare.
const WINDOW: Nanos = 20_000_000;
const SPARE: Nanos = 2;
/// It is over when there was none for so long.
const CALM: Nanos = 1_000_000_000;

/// See the top of this file.
#[derive(Debug)]
pub struct Crowd {
    begun: Nanos,
    spare: Nanos,
    /// Who sent in this window, and a bit for each flow.
    senders: PortSet,
    flows: [u64; 4],
    /// Whether the window before was one of a crowd, and when the latest was.
    before: bool,
    latest: Nanos,
    /// Who was told of.
    told: PortSet,
}

impl Crowd {
    pub fn new() -> Crowd {
        Crowd {
            begun: 0,
            spare: 0,
            senders: PortSet::new(),
            flows: [0; 4],
            before: false,
            latest: 0,
            told: PortSet::new(),
        }
    }

    /// The guest behind a TAP sent a burst of so many bytes that began with a frame of such a flow.
    #[inline]
    pub fn gave(&mut self, port: PortId, flow: u32, bytes: u64) {
        if bytes >= BULK {
            self.senders.insert(port);
            let mixed = (flow ^ u32::from(port).wrapping_mul(0x9e37_79b1)) >> 24;
            self.flows[(mixed >> 6) as usize] |= 1 << (mixed & 63);
        }
    }

    /// For so long there was nothing to do.
    #[inline]
    pub fn spared(&mut self, time: Nanos) {
        self.spare += time;
    }

    /// The port is no more.
    pub fn forget(&mut self, port: PortId) {
        self.senders.remove(port);
        self.told.remove(port);
    }

    /// Once in a while: `tell` of each port that is part of a crowd since now, or no more.
    #[inline]
    pub fn look(&mut self, now: Nanos, tell: impl FnMut(PortId, bool)) {
        if now.saturating_sub(self.begun) >= WINDOW {
            self.judge(now, tell);
        }
    }

    #[cold]
    fn judge(&mut self, now: Nanos, mut tell: impl FnMut(PortId, bool)) {
        let flows: u32 = self.flows.iter().map(|bits| bits.count_ones()).sum();
        let crowd = flows >= FLOWS && self.spare.saturating_mul(SPARE) < now - self.begun;
        if crowd {
            self.latest = now;
        }
        if crowd && self.before {
            for port in members(&self.senders) {
                if !self.told.contains(port) {
                    self.told.insert(port);
                    tell(port, true);
                }
            }
        } else if now.saturating_sub(self.latest) >= CALM && !self.told.is_empty() {
            members(&self.told).for_each(|port| tell(port, false));
            self.told = PortSet::new();
        }
        self.before = crowd;
        (self.begun, self.spare, self.flows) = (now, 0, [0; 4]);
        if !self.senders.is_empty() {
            self.senders = PortSet::new();
        }
    }
}

/// In ascending order.
fn members(set: &PortSet) -> impl Iterator<Item = PortId> {
    let mut from = Some(0);
    std::iter::from_fn(move || {
        let port = set.next(from?)?;
        from = port.checked_add(1);
        Some(port)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BURST: u64 = 256 << 10;

    struct Lab {
        crowd: Crowd,
        now: Nanos,
    }

    impl Lab {
        fn new() -> Lab {
            Lab { crowd: Crowd::new(), now: 5 * WINDOW }
        }

        /// A window in which these ports sent so much, and of which so much was to spare. What was told.
        fn window(
            &mut self,
            ports: std::ops::Range<PortId>,
            bytes: u64,
            spare: Nanos,
        ) -> Vec<(PortId, bool)> {
            for port in ports.chain(std::iter::once(0)) {
                self.crowd.gave(port, 7, if port == 0 { 60 } else { bytes });
                self.crowd.gave(port, 7, 60);
            }
            self.crowd.spared(spare);
            self.now += WINDOW;
            let mut told = vec![];
            self.crowd.look(self.now, |port, on| told.push((port, on)));
            told
        }

        fn calm(&mut self) -> Vec<(PortId, bool)> {
            (0..CALM / WINDOW).flat_map(|_| self.window(0..0, 0, WINDOW)).collect()
        }
    }

    #[test]
    fn many_that_send_in_bulk_while_no_time_is_left_are_told_of_once() {
        let mut lab = Lab::new();
        assert_eq!(lab.window(1..9, BURST, 0), [], "it may be over already");
        assert_eq!(lab.window(1..9, BURST, 0), (1..9).map(|port| (port, true)).collect::<Vec<_>>());
        assert_eq!(lab.window(1..9, BURST, 0), []);
        assert_eq!(lab.window(1..11, BURST, 0), [(9, true), (10, true)], "who joins is told of, too");
        assert_eq!(lab.window(4000..4008, BURST, 0).len(), 8);
        assert_eq!(lab.calm().len(), 18);
        assert_eq!(lab.calm(), [], "all were told that it is over");
    }

    #[test]
    fn few_or_short_frames_or_time_to_spare_make_none() {
        for (ports, bytes, spare) in
            [(1..3, BURST, 0), (1..100, BULK - 1, 0), (1..100, BURST, WINDOW / SPARE)]
        {
            let mut lab = Lab::new();
            let told: Vec<_> = (0..5).flat_map(|_| lab.window(ports.clone(), bytes, spare)).collect();
            assert_eq!(told, [], "{ports:?} {bytes} {spare}");
        }
    }

    #[test]
    fn flows_of_one_port_make_one_as_well() {
        for (flows, told) in [(2_u32, false), (3, true), (200, true)] {
            let mut lab = Lab::new();
            for _ in 0..2 {
                let before = lab.now;
                for flow in 0..flows {
                    lab.crowd.gave(9, flow << 24, BURST);
                    lab.crowd.gave(9, flow << 24, BURST);
                }
                lab.now += WINDOW;
                let mut heard = vec![];
                lab.crowd.look(lab.now, |port, on| heard.push((port, on)));
                let second = before > 5 * WINDOW;
                assert_eq!(heard, if told && second { vec![(9, true)] } else { vec![] }, "{flows}");
            }
        }
    }

    #[test]
    fn a_pause_does_not_end_it() {
        let mut lab = Lab::new();
        (0..2).for_each(|_| drop(lab.window(1..9, BURST, 0)));
        for _ in 0..3 {
            for _ in 1..CALM / WINDOW {
                assert_eq!(lab.window(1..2, BURST, 0), []);
            }
            assert_eq!(lab.window(1..9, BURST, 0), []);
        }
    }

    #[test]
    fn within_a_window_nothing_is_judged() {
        let mut lab = Lab::new();
        lab.window(1..9, BURST, 0);
        (1..9).for_each(|port| lab.crowd.gave(port, 7, BURST));
        lab.crowd.look(lab.now + WINDOW - 1, |port, _| panic!("port {port}"));
    }

    #[test]
    fn a_port_that_is_no_more_is_not_told_of() {
        let mut lab = Lab::new();
        (0..2).for_each(|_| drop(lab.window(1..9, BURST, 0)));
        lab.crowd.forget(3);
        assert!(!lab.calm().iter().any(|(port, _)| *port == 3));
    }
}
