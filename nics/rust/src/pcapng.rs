//! pcapng blocks (draft-ietf-opsawg-pcapng), little-endian, nanoseconds.
//!
//! Functions that append one block each to a buffer; whoever has the buffer decides where it goes.
//! Every block's length is a multiple of 4.

use switch::DropReason;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;
const ETHERNET: u16 = 1;

const COMMENT: u16 = 1;

/// What the section header says of the capture; empty strings are left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Section<'a> {
    pub hardware: &'a str,
    pub os: &'a str,
    pub application: &'a str,
}

/// One interface; in a fabric's capture, one port.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interface<'a> {
    pub name: &'a str,
    pub description: &'a str,
    pub mac: Option<[u8; 6]>,
    /// Bits per second.
    pub speed: Option<u64>,
    /// The most bytes of a packet that are kept.
    pub snaplen: u32,
    /// The filter in libpcap's language; empty for none.
    pub filter: &'a str,
}

/// Which way a packet passed the interface, seen from the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the guest into the switch.
    In,
    /// From the switch to the guest.
    Out,
}

/// What is told of one packet beside its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Index of the interface, in the order of their blocks.
    pub interface: u32,
    /// Nanoseconds since the epoch.
    pub time: u64,
    /// Length on the wire; the bytes kept may be fewer.
    pub len: u32,
    pub direction: Direction,
    /// The same for all sightings of one packet.
    pub id: u64,
    /// Packets of this interface that the capture lost since the one before.
    pub lost: u64,
    /// Why the packet was dropped, if it was.
    pub dropped: Option<DropReason>,
    /// What else there is to say; a packet that was dropped has its reason there instead.
    pub comment: &'a str,
}

/// What became of one interface's packets in the whole capture.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics {
    pub interface: u32,
    /// When the capture started and ended; nanoseconds since the epoch.
    pub start: u64,
    pub end: u64,
    /// Seen, let through by the filter, lost for want of room, and written.
    pub received: u64,
    pub accepted: u64,
    pub lost: u64,
    pub written: u64,
}

/// Begin a block; its length is filled in by [`end`].
fn begin(out: &mut Vec<u8>, kind: u32) -> usize {
    let start = out.len();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    start
}

fn end(out: &mut Vec<u8>, start: usize) {
    let len = (out.len() - start + 4) as u32;
    out[start + 4..start + 8].copy_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&len.to_le_bytes());
}

fn pad(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&[0; 3][..len.wrapping_neg() & 3]);
}

/// One option. What is longer than an option can be is cut off.
fn option(out: &mut Vec<u8>, code: u16, parts: &[&[u8]]) {
    let at = out.len();
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    let mut len = 0;
    for part in parts {
        let part = &part[..part.len().min(usize::from(u16::MAX) - len)];
        out.extend_from_slice(part);
        len += part.len();
    }
    out[at + 2..at + 4].copy_from_slice(&(len as u16).to_le_bytes());
    pad(out, len);
}

fn text(out: &mut Vec<u8>, code: u16, text: &str) {
    if !text.is_empty() {
        option(out, code, &[text.as_bytes()]);
    }
}

fn end_of_options(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0; 4]);
}

/// Nanoseconds as the two halves that blocks carry.
fn time(out: &mut Vec<u8>, nanoseconds: u64) {
    out.extend_from_slice(&((nanoseconds >> 32) as u32).to_le_bytes());
    out.extend_from_slice(&(nanoseconds as u32).to_le_bytes());
}

/// Section Header Block (4.1): the first of a file.
pub fn section(out: &mut Vec<u8>, section: &Section<'_>) {
    let start = begin(out, SECTION);
    out.extend_from_slice(&0x1a2b_3c4d_u32.to_le_bytes());
    out.extend_from_slice(&1u16.to_le_bytes());
    out.extend_from_slice(&0u16.to_le_bytes());
    out.extend_from_slice(&u64::MAX.to_le_bytes());
    text(out, 2, section.hardware);
    text(out, 3, section.os);
    text(out, 4, section.application);
    end_of_options(out);
    end(out, start);
}

/// Interface Description Block (4.2).
pub fn interface(out: &mut Vec<u8>, interface: &Interface<'_>) {
    let start = begin(out, INTERFACE);
    out.extend_from_slice(&ETHERNET.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&interface.snaplen.to_le_bytes());
    text(out, 2, interface.name);
    text(out, 3, interface.description);
    if let Some(mac) = interface.mac {
        option(out, 6, &[&mac]);
    }
    if let Some(speed) = interface.speed {
        option(out, 8, &[&speed.to_le_bytes()]);
    }
    option(out, 9, &[&[9]]);
    if !interface.filter.is_empty() {
        option(out, 11, &[&[0], interface.filter.as_bytes()]);
    }
    end_of_options(out);
    end(out, start);
}

/// Enhanced Packet Block (4.3) with `kept` bytes, which `fill` writes into the slice it is given.
pub fn packet(out: &mut Vec<u8>, packet: &Packet<'_>, kept: usize, fill: impl FnOnce(&mut [u8])) {
    let mut data = vec![0; kept];
    fill(&mut data);
    let mut options = Vec::new();
    packet_options(&mut options, packet, &data);
    let start = out.len();
    out.resize(start + packet_len(kept, &options), 0);
    packet_block(&mut out[start..], packet, kept, &options, |dst| dst.copy_from_slice(&data));
}

/// Length of a packet's block with `kept` bytes and such options.
#[must_use]
pub fn packet_len(kept: usize, options: &[u8]) -> usize {
    BEFORE + kept.next_multiple_of(4) + options.len() + 4
}

/// Bytes of a packet's block before the packet's own.
const BEFORE: usize = 28;

/// Write a packet's block into `block`, which is [`packet_len`] long; `fill` writes the packet's own bytes.
pub fn packet_block(
    block: &mut [u8],
    packet: &Packet<'_>,
    kept: usize,
    options: &[u8],
    fill: impl FnOnce(&mut [u8]),
) {
    let len = (block.len() as u32).to_le_bytes();
    let Some((before, rest)) = block.split_first_chunk_mut::<BEFORE>() else { return };
    before[..4].copy_from_slice(&PACKET.to_le_bytes());
    before[4..8].copy_from_slice(&len);
    before[8..12].copy_from_slice(&packet.interface.to_le_bytes());
    before[12..16].copy_from_slice(&((packet.time >> 32) as u32).to_le_bytes());
    before[16..20].copy_from_slice(&(packet.time as u32).to_le_bytes());
    before[20..24].copy_from_slice(&(kept as u32).to_le_bytes());
    before[24..].copy_from_slice(&packet.len.to_le_bytes());
    let Some((data, after)) = rest.split_at_mut_checked(kept) else { return };
    fill(data);
    let pad = kept.wrapping_neg() & 3;
    if let Some((padding, after)) = after.split_at_mut_checked(pad)
        && let Some((end, last)) = after.split_at_mut_checked(options.len())
    {
        padding.fill(0);
        end.copy_from_slice(options);
        last.copy_from_slice(&len);
    }
}

/// The options of a packet's block, of which `first` are the first bytes or more.
pub fn packet_options(out: &mut Vec<u8>, packet: &Packet<'_>, first: &[u8]) {
    out.clear();
    let direction = match packet.direction {
        Direction::In => 1,
        Direction::Out => 2,
    };
    let flags = (direction | reception(first) << 2).to_le_bytes();
    let id = packet.id.to_le_bytes();
    if packet.dropped.is_none() && packet.comment.is_empty() && packet.lost == 0 {
        // Nearly all: `epb_flags`, `epb_packetid`, end of options.
        let mut usual = [0; 24];
        usual[..4].copy_from_slice(&[2, 0, 4, 0]);
        usual[4..8].copy_from_slice(&flags);
        usual[8..12].copy_from_slice(&[5, 0, 8, 0]);
        usual[12..20].copy_from_slice(&id);
        out.extend_from_slice(&usual);
        return;
    }
    if let Some(reason) = packet.dropped {
        let parts = ["dropped: ", reason.name(), ": ", reason.explanation().trim_start()];
        option(out, COMMENT, &parts.map(str::as_bytes));
    } else {
        text(out, COMMENT, packet.comment);
    }
    option(out, 2, &[&flags]);
    if packet.lost > 0 {
        option(out, 4, &[&packet.lost.to_le_bytes()]);
    }
    option(out, 5, &[&id]);
    if let Some(reason) = packet.dropped {
        // Type 0, the verdict of "hardware", in its own words: the reason's name.
        option(out, 7, &[&[0], reason.name().as_bytes()]);
    }
    end_of_options(out);
}

/// `epb_flags` bits 2..4: unicast, multicast or broadcast by the destination address.
fn reception(data: &[u8]) -> u32 {
    match data.get(..6) {
        Some([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]) => 3,
        Some([first, ..]) if first & 1 == 1 => 2,
        Some(_) => 1,
        None => 0,
    }
}

/// Interface Statistics Block (4.6).
pub fn statistics(out: &mut Vec<u8>, s: &Statistics) {
    let start = begin(out, STATISTICS);
    out.extend_from_slice(&s.interface.to_le_bytes());
    time(out, s.end);
    for (code, at) in [(2, s.start), (3, s.end)] {
        let (high, low) = ((at >> 32) as u32, at as u32);
        option(out, code, &[&high.to_le_bytes(), &low.to_le_bytes()]);
    }
    for (code, count) in [(4, s.received), (5, s.lost), (6, s.accepted), (8, s.written)] {
        option(out, code, &[&count.to_le_bytes()]);
    }
    end_of_options(out);
    end(out, start);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The blocks of a file: (type, body), with both lengths checked.
    fn blocks(mut bytes: &[u8]) -> Vec<(u32, &[u8])> {
        let word = |b: &[u8]| u32::from_le_bytes(b[..4].try_into().unwrap());
        let mut found = vec![];
        while !bytes.is_empty() {
            let len = word(&bytes[4..]) as usize;
            assert_eq!(len % 4, 0);
            assert_eq!(word(&bytes[len - 4..]) as usize, len);
            found.push((word(bytes), &bytes[8..len - 4]));
            bytes = &bytes[len..];
        }
        found
    }

    /// The options at the end of a block.
    fn options(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
        let half = |b: &[u8]| u16::from_le_bytes(b[..2].try_into().unwrap());
        let mut found = vec![];
        loop {
            let (code, len) = (half(bytes), usize::from(half(&bytes[2..])));
            if code == 0 {
                assert_eq!(bytes, [0; 4]);
                return found;
            }
            found.push((code, &bytes[4..4 + len]));
            bytes = &bytes[4 + len.next_multiple_of(4)..];
        }
    }

    #[test]
    fn a_packet_of_any_length_is_padded() {
        for kept in 0..70 {
            let data: Vec<u8> = (1..=kept as u8).collect();
            let mut out = vec![];
            let told = Packet {
                interface: 3,
                time: 0x0000_0001_0000_0002,
                len: 100,
                direction: Direction::Out,
                id: 7,
                lost: 5,
                dropped: Some(DropReason::TxFull),
                comment: "",
            };
            packet(&mut out, &told, kept, |dst| dst.copy_from_slice(&data));
            let found = blocks(&out);
            let (kind, body) = found[0];
            assert_eq!((found.len(), kind), (1, 6));
            assert_eq!(body[..20], [3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, kept as u8, 0, 0, 0, 100, 0, 0, 0]);
            assert_eq!(body[20..20 + kept], data);
            let options = options(&body[20 + kept.next_multiple_of(4)..]);
            let codes: Vec<u16> = options.iter().map(|o| o.0).collect();
            assert_eq!(codes, [1, 2, 4, 5, 7]);
            assert!(options[0].1.starts_with(b"dropped: tx-full: the guest"));
            let flags = if kept < 6 { 2 } else { 2 | 2 << 2 };
            assert_eq!(options[1].1, [flags, 0, 0, 0]);
            assert_eq!(options[4].1, b"\0tx-full");
        }
    }

    #[test]
    fn long_texts_are_cut_to_what_an_option_can_hold() {
        let mut out = vec![];
        let name = "x".repeat(70_000);
        interface(&mut out, &Interface { name: &name, filter: &name, ..Interface::default() });
        let found = blocks(&out);
        let options = options(&found[0].1[8..]);
        assert_eq!(options[0].1.len(), 65_535);
        assert_eq!(options[2].0, 11);
        assert_eq!(options[2].1.len(), 65_535);
    }

    #[test]
    fn empty_texts_are_left_out() {
        let mut out = vec![];
        section(&mut out, &Section::default());
        interface(&mut out, &Interface::default());
        let found = blocks(&out);
        assert_eq!(found.len(), 2);
        assert_eq!(options(&found[0].1[16..]), []);
        assert_eq!(options(&found[1].1[8..]), [(9, &[9][..])]);
    }
}
