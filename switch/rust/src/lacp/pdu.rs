//! Slow Protocols frames of link aggregation: LACPDUs (802.1AX-2014 6.4.2) and Marker PDUs (6.5.3).

use crate::headers::be16;

/// The Slow Protocols multicast address (annex 57A of 802.3).
pub const GROUP: [u8; 6] = [0x01, 0x80, 0xc2, 0, 0, 2];
const SLOW: [u8; 2] = [0x88, 0x09];
const LACP: u8 = 1;
const MARKER: u8 = 2;
/// Ethernet, and what every one of these PDUs is long.
const HEADER: usize = 14;
const BODY: usize = 110;
/// Of the whole frame, without FCS.
pub const LENGTH: usize = HEADER + BODY;

/// A port's state as it is told, one bit each (6.4.2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State(pub u8);

impl State {
    pub const ACTIVITY: u8 = 1;
    /// It wants to hear every second.
    pub const TIMEOUT: u8 = 2;
    pub const AGGREGATION: u8 = 4;
    pub const SYNCHRONIZATION: u8 = 8;
    pub const COLLECTING: u8 = 16;
    pub const DISTRIBUTING: u8 = 32;
    pub const DEFAULTED: u8 = 64;
    pub const EXPIRED: u8 = 128;

    #[inline]
    #[must_use]
    pub const fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    /// Set a bit or clear it; whether that changed anything.
    pub fn set(&mut self, bit: u8, on: bool) -> bool {
        let before = self.0;
        self.0 = if on { before | bit } else { before & !bit };
        self.0 != before
    }
}

/// A system: priority, then address; the lower is preferred (6.3.2).
pub type System = (u16, [u8; 6]);

/// What one end says of itself, or of the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    pub system: System,
    pub key: u16,
    pub port_priority: u16,
    pub port: u16,
    pub state: State,
}

/// An LACPDU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lacpdu {
    pub actor: Info,
    pub partner: Info,
}

/// What a Marker PDU asks to be sent back: the requester's port, system and transaction.
pub type Marker = [u8; 14];

/// A frame to the Slow Protocols address that concerns link aggregation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    Lacp(Lacpdu),
    /// To be answered.
    Marker(Marker),
    /// An answer, which nobody here waits for.
    MarkerResponse,
}

impl Info {
    /// Bytes of a TLV, its type and length included.
    const TLV: usize = 20;

    fn parse(tlv: &[u8], kind: u8) -> Option<Info> {
        let [a, b, ..] = tlv else { return None };
        if (*a, usize::from(*b)) != (kind, Self::TLV) {
            return None;
        }
        Some(Info {
            system: (be16(tlv, 2)?, *tlv.get(4..)?.first_chunk()?),
            key: be16(tlv, 10)?,
            port_priority: be16(tlv, 12)?,
            port: be16(tlv, 14)?,
            state: State(*tlv.get(16)?),
        })
    }

    fn write(&self, kind: u8, out: &mut Vec<u8>) {
        out.extend([kind, Self::TLV as u8]);
        out.extend(self.system.0.to_be_bytes());
        out.extend(self.system.1);
        out.extend(self.key.to_be_bytes());
        out.extend(self.port_priority.to_be_bytes());
        out.extend(self.port.to_be_bytes());
        out.extend([self.state.0, 0, 0, 0]);
    }
}

/// Whether a frame, of which this is the beginning, is one of these: whoever aggregates takes it in.
#[inline]
#[must_use]
pub fn is_slow(head: &[u8]) -> bool {
    head.starts_with(&GROUP)
        && head.get(12..14) == Some(&SLOW)
        && matches!(head.get(14), Some(&(LACP | MARKER)))
}

/// Read a frame, or its first 128 bytes; `None` when it is none of these, or cut off. A version above ours is
/// read as ours, and reserved bytes are not looked at (6.4.2.4).
#[must_use]
pub fn parse(frame: &[u8]) -> Option<Slow> {
    if !is_slow(frame) || frame.len() < LENGTH || *frame.get(15)? == 0 {
        return None;
    }
    let body = frame.get(HEADER + 2..)?;
    if *frame.get(14)? == LACP {
        let actor = Info::parse(body, 1)?;
        let partner = Info::parse(body.get(Info::TLV..)?, 2)?;
        return Some(Slow::Lacp(Lacpdu { actor, partner }));
    }
    match body {
        [1, 16, rest @ ..] => rest.first_chunk().map(|marker| Slow::Marker(*marker)),
        [2, 16, ..] => Some(Slow::MarkerResponse),
        _ => None,
    }
}

fn begun(source: [u8; 6], subtype: u8) -> Vec<u8> {
    let mut frame = Vec::with_capacity(LENGTH);
    frame.extend(GROUP);
    frame.extend(source);
    frame.extend(SLOW);
    frame.extend([subtype, 1]);
    frame
}

fn ended(mut frame: Vec<u8>) -> Vec<u8> {
    frame.resize(LENGTH, 0); // a terminator, and what is reserved
    frame
}

impl Lacpdu {
    /// The frame that says this, from a port with the address `source`.
    #[must_use]
    pub fn frame(&self, source: [u8; 6]) -> Vec<u8> {
        let mut frame = begun(source, LACP);
        self.actor.write(1, &mut frame);
        self.partner.write(2, &mut frame);
        frame.extend([3, 16, 0, 0]); // a collector that delays nothing
        frame.extend([0; 12]);
        ended(frame)
    }
}

/// The answer to a marker (6.5.4.2): the same, but for its type.
#[must_use]
pub fn marker_response(marker: &Marker, source: [u8; 6]) -> Vec<u8> {
    let mut frame = begun(source, MARKER);
    frame.extend([2, 16]);
    frame.extend(marker);
    ended(frame)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn info(seed: u8) -> Info {
        Info {
            system: (0x8000 + u16::from(seed), [seed; 6]),
            key: 7,
            port_priority: 0x90,
            port: u16::from(seed) << 4,
            state: State(0x3d),
        }
    }

    #[test]
    fn what_is_written_reads_the_same_and_cut_off_frames_are_none() {
        let pdu = Lacpdu { actor: info(1), partner: info(2) };
        let frame = pdu.frame([2; 6]);
        assert_eq!(frame.len(), 124);
        assert_eq!(parse(&frame), Some(Slow::Lacp(pdu)));
        for len in 0..124 {
            assert_eq!(parse(&frame[..len]), None, "{len} bytes");
        }
    }

    /// From a capture of two Linux systems, laid out by hand from 6.4.2.3.
    #[test]
    fn a_frame_as_the_standard_lays_it_out() {
        let mut bytes = vec![];
        bytes.extend([0x01, 0x80, 0xc2, 0, 0, 2, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 1, 0x88, 0x09, 1, 1]);
        bytes.extend([
            1, 20, 0xff, 0xff, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0, 9, 0, 0xff, 0, 1, 0x45, 0, 0, 0,
        ]);
        bytes.extend([2, 20, 0, 1, 2, 3, 4, 5, 6, 7, 0, 8, 0, 9, 0, 10, 0x3f, 0, 0, 0]);
        bytes.extend([3, 16, 0, 0]);
        bytes.resize(124, 0);
        let Some(Slow::Lacp(pdu)) = parse(&bytes) else { panic!() };
        assert_eq!(pdu.actor.system, (0xffff, [0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff]));
        assert_eq!((pdu.actor.key, pdu.actor.port_priority, pdu.actor.port), (9, 255, 1));
        assert!(pdu.actor.state.has(State::ACTIVITY) && pdu.actor.state.has(State::DEFAULTED));
        assert_eq!((pdu.partner.key, pdu.partner.port_priority, pdu.partner.port), (8, 9, 10));
        assert_eq!(pdu.frame([0xaa, 0xbb, 0xcc, 0xdd, 0xee, 1]), bytes);
        // A newer version is read as ours, version 0 there never was; a TLV of another length is none.
        bytes[15] = 2;
        assert!(parse(&bytes).is_some());
        bytes[15] = 0;
        assert_eq!(parse(&bytes), None);
        bytes[15] = 1;
        bytes[17] = 19;
        assert_eq!(parse(&bytes), None);
    }

    #[test]
    fn a_marker_comes_back_as_its_answer() {
        let marker: Marker = std::array::from_fn(|i| i as u8);
        let mut frame = marker_response(&marker, [2; 6]);
        assert_eq!(parse(&frame), Some(Slow::MarkerResponse));
        frame[16] = 1;
        assert_eq!(parse(&frame), Some(Slow::Marker(marker)));
        frame[14] = 3; // OAM is none of ours
        assert!(!is_slow(&frame));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..140)) {
            let _ = parse(&bytes);
            let mut frame = Lacpdu::default().frame([2; 6]);
            frame.splice(14.., bytes);
            let _ = parse(&frame);
        }
    }
}
