//! The latest records of one port, in memory: chunks that are filled one after the other, and the
//! oldest of them filled anew when there are as many as there may be.
//!
//! A record lies whole in one chunk and is no longer than its frame's beginning needs, so a chunk is
//! read from its front, record by record, and copied by length alone. What is overwritten goes a chunk
//! at a time.

use std::collections::VecDeque;
use switch::{DropReason, Nanos, PortId, VlanId};

/// Bytes of a chunk, a page: some 45 records of small frames.
pub const CHUNK: usize = 4 << 10;

/// Chunks that every ring may have: while one is filled, the other is still there.
pub const FIRST: usize = 2;

/// Bytes of a record in front of its frame's.
const META: usize = 24;

/// What is kept of a long frame, as long as nobody wants another length.
pub const USUAL: usize = 96;

/// What became of a frame at the port whose record it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It came in and went to another port ...
    To(PortId),
    /// ... or to all of its VLAN that want it ...
    Flood,
    /// ... or to those of its multicast group, or to routers ...
    Group,
    /// ... or to the switch itself ...
    Local,
    /// ... or nowhere.
    Dropped(DropReason),
    /// It, or a copy of it, would have left by this port.
    Refused(DropReason),
    /// The switch's own left by this port.
    Own,
}

impl Verdict {
    /// As a kind, 3 bits, and a value, 12 bits: ports and reasons have as many at most.
    #[inline]
    fn pack(self) -> (u64, u64) {
        match self {
            Verdict::To(port) => (0, u64::from(port & 0xfff)),
            Verdict::Flood => (1, 0),
            Verdict::Local => (2, 0),
            Verdict::Dropped(reason) => (3, reason as u64),
            Verdict::Refused(reason) => (4, reason as u64),
            Verdict::Own => (5, 0),
            Verdict::Group => (6, 0),
        }
    }

    fn unpack(kind: u64, value: u64) -> Option<Self> {
        let reason = || DropReason::ALL.get(value as usize).copied();
        Some(match kind {
            0 => Verdict::To(value as PortId),
            1 => Verdict::Flood,
            2 => Verdict::Local,
            3 => Verdict::Dropped(reason()?),
            4 => Verdict::Refused(reason()?),
            5 => Verdict::Own,
            6 => Verdict::Group,
            _ => return None,
        })
    }

    /// Why it was dropped, if it was.
    #[must_use]
    pub fn dropped(self) -> Option<DropReason> {
        match self {
            Verdict::Dropped(reason) | Verdict::Refused(reason) => Some(reason),
            _ => None,
        }
    }
}

/// What is told of a frame beside its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub time: Nanos,
    /// The same for the frame at its ingress and at each egress.
    pub packet: u64,
    /// Of the whole frame.
    pub len: u32,
    pub vlan: VlanId,
    pub verdict: Verdict,
    /// Frames of this ring before it, since the record before it, that were not kept: at most [`GAP`].
    pub gap: u32,
}

/// The largest gap that one record can tell; what is more is told by the next.
pub const GAP: u32 = 0xfff;

impl Record {
    /// 17 bits of length, 8 of what is kept, 12 of the VLAN, 3 and 12 of the verdict, 12 of the gap.
    #[inline]
    fn word(&self, kept: usize) -> u64 {
        let (kind, value) = self.verdict.pack();
        u64::from(self.len & 0x1_ffff)
            | (kept as u64 & 0xff) << 17
            | u64::from(self.vlan & 0xfff) << 25
            | kind << 37
            | value << 40
            | u64::from(self.gap.min(GAP)) << 52
    }
}

/// See the top of this file.
#[derive(Debug, Default)]
pub struct Ring {
    /// The chunk that is being filled, up to `at`; empty until there is a first record.
    current: Box<[u8]>,
    at: usize,
    /// Those before it, the oldest in front, and how far each is filled.
    full: VecDeque<(Box<[u8]>, usize)>,
    /// The oldest one's number; they are numbered from 0 as they are begun.
    oldest: u64,
}

impl Ring {
    /// Add a record with the frame's first bytes, 255 at most. The ring may have `most` chunks, and all rings
    /// together `left` more than the [`FIRST`] of each. Where the frame's bytes are now; none without room.
    #[inline]
    pub fn push(&mut self, record: &Record, head: &[u8], most: usize, left: &mut usize) -> &mut [u8] {
        let need = META + head.len();
        if self.current.len().saturating_sub(self.at) < need {
            self.begin(most, left);
        }
        let Some(place) = self.current.get_mut(self.at..self.at + need) else { return &mut [] };
        let (meta, data) = place.split_at_mut(META);
        meta[..8].copy_from_slice(&record.time.to_le_bytes());
        meta[8..16].copy_from_slice(&record.packet.to_le_bytes());
        meta[16..].copy_from_slice(&record.word(head.len()).to_le_bytes());
        match (data.first_chunk_mut(), head.first_chunk::<USUAL>()) {
            // A call costs more than this copy.
            (Some(data), Some(head)) if need == META + USUAL => *data = *head,
            _ => data.copy_from_slice(head),
        }
        self.at += need.next_multiple_of(8);
        data
    }

    /// Begin another chunk: a new one as long as there is room, and then the oldest.
    #[cold]
    fn begin(&mut self, most: usize, left: &mut usize) {
        let before = std::mem::take(&mut self.current);
        if !before.is_empty() {
            self.full.push_back((before, self.at));
        }
        self.at = 0;
        let granted = self.full.len() < FIRST;
        if !granted && (self.full.len() >= most || *left == 0) {
            self.oldest += 1;
            self.current = self.full.pop_front().map_or_else(Box::default, |(chunk, _)| chunk);
            return;
        }
        if !granted {
            *left -= 1;
        }
        self.current = vec![0; CHUNK].into_boxed_slice();
    }

    /// Chunks beyond the [`FIRST`].
    #[must_use]
    pub fn taken(&self) -> usize {
        (self.full.len() + 1).saturating_sub(FIRST)
    }

    /// Whether nothing was overwritten yet.
    #[cfg(test)]
    pub fn is_whole(&self) -> bool {
        self.oldest == 0
    }

    /// Copy records, whole chunks of them from number `from` on, as long as they fit in what `out` has
    /// room for: the number to go on with, and whether there is nothing more. What was overwritten since is
    /// left out.
    pub fn copy(&self, from: u64, out: &mut Vec<u8>) -> (u64, bool) {
        let mut number = from.max(self.oldest);
        let chunks = self.full.iter().map(|(chunk, at)| (chunk, *at));
        let all = chunks.chain([(&self.current, self.at)]);
        for (chunk, at) in all.skip((number - self.oldest) as usize) {
            if out.capacity() - out.len() < at {
                return (number, false);
            }
            out.extend_from_slice(&chunk[..at]);
            number += 1;
        }
        (number, true)
    }
}

/// The records in what [`Ring::copy`] copied, each with its frame's first bytes.
pub fn records(mut bytes: &[u8]) -> impl Iterator<Item = (Record, &[u8])> {
    std::iter::from_fn(move || {
        let (meta, rest) = bytes.split_first_chunk::<META>()?;
        let number = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&meta[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let word = number(16);
        let kept = (word >> 17 & 0xff) as usize;
        let record = Record {
            time: number(0),
            packet: number(8),
            len: (word & 0x1_ffff) as u32,
            vlan: (word >> 25 & 0xfff) as VlanId,
            verdict: Verdict::unpack(word >> 37 & 7, word >> 40 & 0xfff)?,
            gap: (word >> 52) as u32,
        };
        let head = rest.get(..kept)?;
        bytes = bytes.get((META + kept).next_multiple_of(8)..).unwrap_or_default();
        Some((record, head))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn record(packet: u64, verdict: Verdict) -> Record {
        Record { time: u64::MAX - packet, packet, len: 65_557, vlan: 4094, verdict, gap: GAP }
    }

    fn copied(ring: &Ring) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 << 20);
        assert!(ring.copy(0, &mut bytes).1);
        bytes
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let verdicts =
            [Verdict::Flood, Verdict::Group, Verdict::Local, Verdict::Own, Verdict::To(0), Verdict::To(4095)]
                .into_iter()
                .chain(DropReason::ALL.iter().flat_map(|r| [Verdict::Dropped(*r), Verdict::Refused(*r)]));
        let mut ring = Ring::default();
        let mut left = 100;
        let head: Vec<u8> = (0..128).collect();
        let mut wanted = vec![];
        for (i, verdict) in verdicts.enumerate() {
            let kept = &head[..i % 129];
            wanted.push((record(i as u64, verdict), kept));
            ring.push(&record(i as u64, verdict), kept, 100, &mut left);
        }
        assert_eq!(records(&copied(&ring)).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn the_oldest_go_and_memory_is_bounded() {
        let mut ring = Ring::default();
        let mut left = 10;
        for packet in 0..100_000 {
            ring.push(&record(packet, Verdict::Flood), &[7; 60], 4, &mut left);
            assert!(ring.taken() <= 2);
        }
        assert_eq!((ring.taken(), left), (2, 8));
        let bytes = copied(&ring);
        let packets: Vec<u64> = records(&bytes).map(|(record, _)| record.packet).collect();
        let fits = CHUNK / 88;
        assert!((3 * fits..=4 * fits).contains(&packets.len()), "{}", packets.len());
        assert!(packets.iter().copied().eq(100_000 - packets.len() as u64..100_000));
    }

    #[test]
    fn where_all_is_taken_each_ring_still_has_two_chunks() {
        let mut ring = Ring::default();
        let mut left = 0;
        for packet in 0..1_000 {
            ring.push(&record(packet, Verdict::Flood), &[7; 60], 100, &mut left);
        }
        assert_eq!((ring.taken(), left), (0, 0));
        assert_eq!(records(&copied(&ring)).last().unwrap().0.packet, 999);
    }

    #[test]
    fn a_copy_in_pieces_leaves_out_what_was_overwritten_meanwhile() {
        let mut ring = Ring::default();
        let mut left = 10;
        let fill = |ring: &mut Ring, left: &mut usize, packets: std::ops::Range<u64>| {
            for packet in packets {
                ring.push(&record(packet, Verdict::Flood), &[7; 64], 4, left);
            }
        };
        let each = (CHUNK / 88) as u64;
        fill(&mut ring, &mut left, 0..4 * each);
        let mut first = Vec::with_capacity(CHUNK);
        let (next, done) = ring.copy(0, &mut first);
        assert_eq!((next, done), (1, false));
        fill(&mut ring, &mut left, 4 * each..6 * each);
        let mut rest = Vec::with_capacity(1 << 20);
        assert_eq!(ring.copy(next, &mut rest), (6, true));
        assert!(records(&first).map(|(r, _)| r.packet).eq(0..each));
        assert!(records(&rest).map(|(r, _)| r.packet).eq(2 * each..6 * each));
    }
}
