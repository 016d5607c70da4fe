//! Fragmentation and reassembly, of IPv4 (RFC 791, 3.2) and IPv6 (RFC 8200, 4.5).
//!
//! Fragments are an old way to attack a host: holes that are never filled, pieces that overlap and
//! read differently to a filter and to the host, a datagram that grows beyond its limit. Here every
//! datagram has a fixed limit of memory, of holes and of time, there are few at once, and one whose
//! pieces overlap is given up (RFC 5722).

use super::packet::Mac;
use super::packet::{ETH, Header, Packet, Piece, header_len, seal_v4, write_ethernet};
use std::collections::BTreeMap;
use std::net::IpAddr;
use switch::Nanos;

/// Datagrams being put together at once; one more pushes out the oldest.
const DATAGRAMS_MAX: usize = 32;
/// Memory for all of them.
const MEMORY_MAX: usize = 1 << 20;
/// The longest payload an IP packet can have.
const PAYLOAD_MAX: usize = 65_535;
/// Disjoint runs of received bytes that one datagram may have.
const RUNS_MAX: usize = 64;
/// How long the first piece waits for the last (RFC 8200, 4.5: 60 s; IPv4 hosts use 30 s).
const TIMEOUT: Nanos = 30_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    src: IpAddr,
    dst: IpAddr,
    proto: u8,
    id: u32,
}

#[derive(Debug)]
struct Datagram {
    /// Room for an IP header, then the payload as far as it is known.
    bytes: Vec<u8>,
    /// Received runs of the payload, disjoint, ascending: start and end.
    runs: Vec<(usize, usize)>,
    /// Length of the payload, once the last piece was seen.
    total: Option<usize>,
    hop_limit: u8,
    proto: u8,
    expires: Nanos,
}

/// What became of a piece.
enum Fit {
    New,
    Known,
    Bad,
}

impl Datagram {
    fn fit(&mut self, piece: Piece, payload: &[u8]) -> Fit {
        let (start, end) = (piece.offset, piece.offset + payload.len());
        // All but the last are multiples of eight bytes, and none is empty.
        if payload.is_empty() || end > PAYLOAD_MAX || piece.more && !payload.len().is_multiple_of(8) {
            return Fit::Bad;
        }
        let last = self.runs.last().map_or(0, |run| run.1);
        match self.total {
            Some(total) if end > total || !piece.more && end != total => return Fit::Bad,
            None if !piece.more && end < last => return Fit::Bad,
            _ => {}
        }
        let at = self.runs.partition_point(|run| run.1 < start);
        let touching = self.runs[at..].iter().take_while(|run| run.0 <= end).count();
        let (mut from, mut to) = (start, end);
        for &(run_start, run_end) in &self.runs[at..at + touching] {
            if run_start <= start && end <= run_end {
                return Fit::Known;
            }
            if run_start < end && start < run_end {
                return Fit::Bad;
            }
            (from, to) = (from.min(run_start), to.max(run_end));
        }
        self.runs.splice(at..at + touching, [(from, to)]);
        if self.runs.len() > RUNS_MAX {
            return Fit::Bad;
        }
        if !piece.more {
            self.total = Some(end);
        }
        Fit::New
    }

    fn complete(&self) -> bool {
        matches!((self.total, &self.runs[..]), (Some(total), [(0, end)]) if *end == total)
    }
}

/// Datagrams of which some pieces arrived.
#[derive(Debug, Default)]
pub struct Reassembly {
    datagrams: BTreeMap<Key, Datagram>,
    memory: usize,
}

impl Reassembly {
    /// Add a piece. Returns the whole packet, with a plain IP header, when it was the missing one.
    pub fn add(&mut self, packet: &Packet<'_>, piece: Piece, now: Nanos) -> Option<Vec<u8>> {
        let room = header_len(packet.src.is_ipv4());
        // The last header of an IPv6 chain is told by the first piece alone, so it is no part of
        // what tells datagrams apart (RFC 8200, 4.5).
        let proto = if packet.src.is_ipv4() { packet.proto } else { 0 };
        let key = Key { src: packet.src, dst: packet.dst, proto, id: piece.id };
        if !self.datagrams.contains_key(&key) {
            while self.datagrams.len() >= DATAGRAMS_MAX {
                self.evict();
            }
            let datagram = Datagram {
                bytes: vec![0; room],
                runs: Vec::new(),
                total: None,
                hop_limit: packet.hop_limit,
                proto: packet.proto,
                expires: now + TIMEOUT,
            };
            self.datagrams.insert(key, datagram);
        }
        let datagram = self.datagrams.get_mut(&key)?;
        match datagram.fit(piece, packet.payload) {
            Fit::Known => return None,
            Fit::Bad => {
                self.forget(key);
                return None;
            }
            Fit::New => {}
        }
        if piece.offset == 0 {
            (datagram.proto, datagram.hop_limit) = (packet.proto, packet.hop_limit);
        }
        let (start, end) = (room + piece.offset, room + piece.offset + packet.payload.len());
        if datagram.bytes.len() < end {
            self.memory += end - datagram.bytes.len();
            datagram.bytes.resize(end, 0);
        }
        datagram.bytes[start..end].copy_from_slice(packet.payload);
        if datagram.complete() {
            let mut bytes = self.forget(key)?;
            let (proto, hop_limit) = (bytes.proto, bytes.hop_limit);
            // An IPv4 packet of 65,535 bytes of payload can't have a header any more.
            if packet.src.is_ipv4() && bytes.bytes.len() > 65_535 {
                return None;
            }
            Header { src: key.src, dst: key.dst, proto, hop_limit }.write(&mut bytes.bytes);
            return Some(bytes.bytes);
        }
        while self.memory > MEMORY_MAX {
            self.evict();
        }
        None
    }

    fn forget(&mut self, key: Key) -> Option<Datagram> {
        let datagram = self.datagrams.remove(&key)?;
        self.memory -= datagram.bytes.len() - header_len(key.src.is_ipv4());
        Some(datagram)
    }

    fn evict(&mut self) {
        let oldest = self.datagrams.iter().min_by_key(|(_, datagram)| datagram.expires);
        if let Some(key) = oldest.map(|(key, _)| *key) {
            self.forget(key);
        }
    }

    pub fn deadline(&self) -> Option<Nanos> {
        self.datagrams.values().map(|datagram| datagram.expires).min()
    }

    pub fn tick(&mut self, now: Nanos) {
        while let Some((key, datagram)) = self.datagrams.iter().min_by_key(|(_, d)| d.expires)
            && datagram.expires <= now
        {
            let key = *key;
            self.forget(key);
        }
    }
}

/// Cut `packet`, an IP packet with a plain header that is longer than `mtu`, into frames. Each is
/// built in `scratch` and given to `each`. Returns false for what can't be cut.
pub fn fragment(
    packet: &[u8],
    mtu: usize,
    id: u32,
    (src, dst): (Mac, Mac),
    scratch: &mut [u8],
    mut each: impl FnMut(&[u8]),
) -> bool {
    let Some(v4) = packet.first().map(|first| first >> 4 == 4) else { return false };
    let header = header_len(v4);
    let extra = if v4 { 0 } else { 8 };
    let step = mtu.saturating_sub(header + extra) & !7;
    if packet.len() <= header || step == 0 || scratch.len() < ETH + header + extra + step {
        return false;
    }
    let (head, payload) = packet.split_at(header);
    let count = payload.len().div_ceil(step);
    for (i, chunk) in payload.chunks(step).enumerate() {
        let more = i + 1 < count;
        let frame = &mut scratch[..ETH + header + extra + chunk.len()];
        write_ethernet(frame, src, dst, v4);
        let ip = &mut frame[ETH..];
        ip[..header].copy_from_slice(head);
        if v4 {
            let len = (header + chunk.len()) as u16;
            ip[2..4].copy_from_slice(&len.to_be_bytes());
            ip[4..6].copy_from_slice(&(id as u16).to_be_bytes());
            let flags = (i * step / 8) as u16 | if more { 0x2000 } else { 0 };
            ip[6..8].copy_from_slice(&flags.to_be_bytes());
            seal_v4(&mut ip[..header]);
        } else {
            let len = (extra + chunk.len()) as u16;
            ip[4..6].copy_from_slice(&len.to_be_bytes());
            let offset = (i * step) as u16 | u16::from(more);
            ip[40..44].copy_from_slice(&[head[6], 0, (offset >> 8) as u8, offset as u8]);
            ip[44..48].copy_from_slice(&id.to_be_bytes());
            ip[6] = 44;
        }
        ip[header + extra..].copy_from_slice(chunk);
        each(frame);
    }
    true
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::stack::packet::UDP;
    use proptest::prelude::*;

    fn packet(v4: bool, len: usize) -> Vec<u8> {
        let addresses = if v4 { ["10.0.0.1", "10.0.0.2"] } else { ["fd00::1", "fd00::2"] };
        let [src, dst] = addresses.map(|text| text.parse().unwrap());
        let mut bytes: Vec<u8> = (0..header_len(v4) + len).map(|i| (i * 7 + i / 251) as u8).collect();
        Header::new(src, dst, UDP).write(&mut bytes);
        bytes
    }

    fn cut(packet: &[u8], mtu: usize, id: u32) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut scratch = vec![0; 70_000];
        let addresses = ([2; 6], [4; 6]);
        assert!(fragment(packet, mtu, id, addresses, &mut scratch, |frame| frames.push(frame.to_vec())));
        assert!(frames.iter().all(|frame| frame.len() <= ETH + mtu));
        frames
    }

    fn feed(reassembly: &mut Reassembly, frame: &[u8], now: Nanos) -> Option<Vec<u8>> {
        let packet = Packet::parse(&frame[ETH..]).unwrap();
        reassembly.add(&packet, packet.piece.unwrap(), now)
    }

    #[test]
    fn pieces_in_any_order_make_the_packet() {
        for v4 in [true, false] {
            for len in [2000, 8000, 65_000] {
                let whole = packet(v4, len);
                let mut frames = cut(&whole, 1500, 77);
                for _ in 0..3 {
                    let half = frames.len() / 2;
                    frames.rotate_left(half.max(1));
                    let mut reassembly = Reassembly::default();
                    let mut done = None;
                    for frame in &frames {
                        assert_eq!(done, None);
                        done = feed(&mut reassembly, frame, 0);
                    }
                    let mut done = done.unwrap();
                    // The header was written anew.
                    Packet::parse(&done).unwrap();
                    done[..header_len(v4)].copy_from_slice(&whole[..header_len(v4)]);
                    assert!(done == whole);
                    assert_eq!((reassembly.memory, reassembly.deadline()), (0, None));
                }
            }
        }
    }

    #[test]
    fn the_same_piece_twice_does_no_harm_but_an_overlap_does() {
        let frames = cut(&packet(true, 4000), 1500, 1);
        let mut reassembly = Reassembly::default();
        assert_eq!(feed(&mut reassembly, &frames[0], 0), None);
        assert_eq!(feed(&mut reassembly, &frames[0], 0), None);
        assert_eq!(feed(&mut reassembly, &frames[1], 0), None);
        assert!(feed(&mut reassembly, &frames[2], 0).is_some());

        let other = cut(&packet(true, 4000), 1300, 1);
        feed(&mut reassembly, &frames[0], 0);
        assert_eq!(feed(&mut reassembly, &other[1], 0), None);
        assert_eq!(reassembly.deadline(), None);
    }

    #[test]
    fn what_stays_incomplete_is_forgotten() {
        let mut reassembly = Reassembly::default();
        for id in 0..100 {
            feed(&mut reassembly, &cut(&packet(id % 2 == 0, 65_000), 9000, id)[1], Nanos::from(id));
            assert!(reassembly.datagrams.len() <= DATAGRAMS_MAX && reassembly.memory <= MEMORY_MAX);
        }
        assert!(reassembly.deadline().unwrap() > TIMEOUT + 50);
        reassembly.tick(TIMEOUT + 98);
        assert_eq!(reassembly.datagrams.len(), 1);
        reassembly.tick(TIMEOUT + 99);
        assert_eq!((reassembly.memory, reassembly.deadline()), (0, None));
    }

    proptest! {
        #[test]
        fn any_pieces_may_come(
            pieces in proptest::collection::vec((0usize..8200, 0usize..1500, any::<bool>(), 0u32..3), 0..60),
            v4: bool,
        ) {
            let mut reassembly = Reassembly::default();
            for (eighths, len, more, id) in pieces {
                let bytes = packet(v4, len);
                let packet = Packet::parse(&bytes).unwrap();
                reassembly.add(&packet, Piece { id, offset: eighths * 8, more }, 0);
                let memory = reassembly.datagrams.values().map(|d| d.bytes.len() - header_len(v4)).sum::<usize>();
                prop_assert_eq!(memory, reassembly.memory);
            }
        }
    }
}
