//! TIME-WAIT (RFC 9293, 3.6.1) without the connection: what is left of one is its numbers.
//!
//! The side that closed first has to answer for a while, should its last acknowledgement have been
//! lost. That needs no buffers; a guest that closed a thousand connections keeps a thousand records.

use super::conn::Tuple;
use std::collections::{BTreeMap, VecDeque};
use switch::Nanos;

/// As smoltcp's own; Linux' 60 s guard against networks that keep packets for longer than any here.
const LINGER: Nanos = 10_000_000_000;
const RECORDS_MAX: usize = 4096;

#[derive(Clone, Copy, Debug)]
struct Record {
    seq: u32,
    ack: u32,
    until: Nanos,
}

/// What to do with a segment for a connection that lingers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// It is for no such connection.
    NotHere,
    /// It begins a new connection in place of the old one.
    Anew,
    /// Acknowledge, with these numbers, what was acknowledged before.
    Acknowledge { seq: u32, ack: u32 },
    /// Do nothing.
    Ignore,
}

/// The parts of a segment that matter here.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub seq: u32,
    pub syn: bool,
    pub rst: bool,
    /// It takes up sequence numbers: data or a FIN.
    pub long: bool,
}

#[derive(Debug, Default)]
pub struct Lingering {
    records: BTreeMap<Tuple, Record>,
    /// In the order of their begin, with repetitions.
    order: VecDeque<(Nanos, Tuple)>,
}

impl Lingering {
    pub fn add(&mut self, tuple: Tuple, (seq, ack): (u32, u32), now: Nanos) {
        self.expire(now);
        while self.order.len() >= RECORDS_MAX {
            self.drop_oldest();
        }
        self.records.insert(tuple, Record { seq, ack, until: now + LINGER });
        self.order.push_back((now + LINGER, tuple));
    }

    fn drop_oldest(&mut self) {
        if let Some((until, tuple)) = self.order.pop_front()
            && self.records.get(&tuple).is_some_and(|record| record.until == until)
        {
            self.records.remove(&tuple);
        }
    }

    pub fn deadline(&self) -> Option<Nanos> {
        self.order.front().map(|(until, _)| *until)
    }

    pub fn expire(&mut self, now: Nanos) {
        while self.order.front().is_some_and(|(until, _)| *until <= now) {
            self.drop_oldest();
        }
    }

    /// Whether this pair of addresses and ports must not be used by us now.
    pub fn has(&mut self, tuple: &Tuple, now: Nanos) -> bool {
        self.expire(now);
        self.records.contains_key(tuple)
    }

    /// A segment for `tuple`, which no connection took.
    pub fn late(&mut self, tuple: &Tuple, segment: Segment, now: Nanos) -> Late {
        self.expire(now);
        let Some(&Record { seq, ack, .. }) = self.records.get(tuple) else { return Late::NotHere };
        if segment.rst {
            // Somebody's guess must not end the wait (RFC 1337).
            return Late::Ignore;
        }
        if segment.syn && (segment.seq.wrapping_sub(ack) as i32) > 0 {
            // The peer goes on from where it was (RFC 9293, 3.10.7.4).
            self.records.remove(tuple);
            return Late::Anew;
        }
        if segment.long || segment.syn {
            return Late::Acknowledge { seq, ack };
        }
        Late::Ignore
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn tuple(port: u16) -> Tuple {
        Tuple { local: ([10, 0, 0, 1], 80).into(), remote: ([10, 0, 0, 2], port).into() }
    }

    #[test]
    fn a_record_answers_and_ends() {
        let mut lingering = Lingering::default();
        lingering.add(tuple(1), (100, 200), 0);
        let fin = Segment { seq: 199, syn: false, rst: false, long: true };
        assert_eq!(lingering.late(&tuple(2), fin, 1), Late::NotHere);
        assert_eq!(lingering.late(&tuple(1), fin, 1), Late::Acknowledge { seq: 100, ack: 200 });
        assert_eq!(lingering.late(&tuple(1), Segment { rst: true, ..fin }, 1), Late::Ignore);
        assert_eq!(lingering.late(&tuple(1), Segment { long: false, ..fin }, 1), Late::Ignore);
        let old = Segment { syn: true, ..fin };
        assert_eq!(lingering.late(&tuple(1), old, 1), Late::Acknowledge { seq: 100, ack: 200 });
        assert_eq!(lingering.late(&tuple(1), Segment { seq: 201, ..old }, 1), Late::Anew);
        assert_eq!(lingering.late(&tuple(1), fin, 1), Late::NotHere);

        lingering.add(tuple(1), (1, 1), 5);
        assert!(lingering.has(&tuple(1), LINGER + 4));
        assert!(!lingering.has(&tuple(1), LINGER + 5));
    }

    #[test]
    fn there_are_never_too_many() {
        let mut lingering = Lingering::default();
        for n in 0..20_000u16 {
            lingering.add(tuple(n % 5000), (0, 0), u64::from(n));
            assert!(lingering.records.len() <= RECORDS_MAX && lingering.order.len() <= RECORDS_MAX);
        }
        assert!(lingering.has(&tuple(19_999 % 5000), 20_000));
        lingering.expire(LINGER * 2);
        assert_eq!((lingering.records.len(), lingering.order.len()), (0, 0));
    }
}
