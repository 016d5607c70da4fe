//! Bridge protocol data units: what bridges tell each other (802.1D-2004 clause 9).

use crate::headers::{be16, be32};

/// Where they are sent to: the Bridge Group Address.
pub const GROUP: [u8; 6] = [0x01, 0x80, 0xc2, 0, 0, 0];
const LLC: [u8; 3] = [0x42, 0x42, 0x03];
const HEADER: usize = 17;
/// The shortest frame on a wire, without FCS.
const SHORTEST: usize = 60;

/// A bridge: priority in the upper 16 bits, MAC address below. The lower is the better.
pub type BridgeId = u64;

/// What a bridge knows of the tree (17.5); the lesser in this order is the better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vector {
    pub root: BridgeId,
    pub cost: u32,
    /// Who said so, ...
    pub bridge: BridgeId,
    /// ... at which of his ports.
    pub port: u16,
}

/// Times in 256ths of a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    pub age: u16,
    pub max_age: u16,
    pub hello: u16,
    pub forward_delay: u16,
}

/// Role of the port that sent an RST BPDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    Unknown,
    AlternateOrBackup,
    Root,
    Designated,
}

/// What a Config or RST BPDU says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)]
pub struct Config {
    /// An RST BPDU, not one of the older protocol.
    pub rapid: bool,
    pub sender: Sender,
    pub tc: bool,
    pub tc_ack: bool,
    pub proposal: bool,
    pub agreement: bool,
    pub learning: bool,
    pub forwarding: bool,
    pub vector: Vector,
    pub times: Times,
}

/// A whole BPDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bpdu {
    Config(Config),
    /// Topology change notification.
    Tcn,
}

fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

impl Bpdu {
    /// What an untagged frame to [`GROUP`] says; `None` when it is no BPDU (9.3.4).
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Bpdu> {
        let length = usize::from(be16(frame, 12)?);
        if frame.get(14..17)? != LLC {
            return None;
        }
        let said = length.checked_sub(LLC.len())?;
        let bpdu = frame.get(HEADER..)?;
        let bpdu = bpdu.get(..said.min(bpdu.len()))?;
        if be16(bpdu, 0)? != 0 {
            return None;
        }
        let (version, kind) = (*bpdu.get(2)?, *bpdu.get(3)?);
        let rapid = match kind {
            0x80 => return Some(Bpdu::Tcn),
            0 => false,
            2 if version >= 2 && bpdu.len() >= 36 => true,
            _ => return None,
        };
        let flags = *bpdu.get(4)?;
        let config = Config {
            rapid,
            sender: match (rapid, flags >> 2 & 3) {
                (false, _) | (true, 3) => Sender::Designated,
                (true, 2) => Sender::Root,
                (true, 1) => Sender::AlternateOrBackup,
                _ => Sender::Unknown,
            },
            tc: flags & 1 != 0,
            tc_ack: flags & 0x80 != 0 && !rapid,
            proposal: flags & 2 != 0 && rapid,
            agreement: flags & 0x40 != 0 && rapid,
            learning: flags & 0x10 != 0 && rapid,
            forwarding: flags & 0x20 != 0 && rapid,
            vector: Vector {
                root: be64(bpdu, 5)?,
                cost: be32(bpdu, 13)?,
                bridge: be64(bpdu, 17)?,
                port: be16(bpdu, 25)?,
            },
            times: Times {
                age: be16(bpdu, 27)?,
                max_age: be16(bpdu, 29)?,
                hello: be16(bpdu, 31)?,
                forward_delay: be16(bpdu, 33)?,
            },
        };
        (rapid || config.times.age < config.times.max_age).then_some(Bpdu::Config(config))
    }

    /// The frame that says this, from a port with the address `source`.
    #[must_use]
    pub fn frame(&self, source: [u8; 6]) -> Vec<u8> {
        let mut bpdu = vec![0, 0];
        match self {
            Bpdu::Tcn => bpdu.extend([0, 0x80]),
            Bpdu::Config(config) => {
                bpdu.extend(if config.rapid { [2, 2] } else { [0, 0] });
                let role = match (config.rapid, config.sender) {
                    (false, _) | (true, Sender::Unknown) => 0,
                    (true, Sender::AlternateOrBackup) => 1,
                    (true, Sender::Root) => 2,
                    (true, Sender::Designated) => 3,
                };
                bpdu.push(
                    u8::from(config.tc)
                        | u8::from(config.proposal) << 1
                        | role << 2
                        | u8::from(config.learning) << 4
                        | u8::from(config.forwarding) << 5
                        | u8::from(config.agreement) << 6
                        | u8::from(config.tc_ack) << 7,
                );
                let Vector { root, cost, bridge, port } = config.vector;
                bpdu.extend(root.to_be_bytes());
                bpdu.extend(cost.to_be_bytes());
                bpdu.extend(bridge.to_be_bytes());
                bpdu.extend(port.to_be_bytes());
                let Times { age, max_age, hello, forward_delay } = config.times;
                for time in [age, max_age, hello, forward_delay] {
                    bpdu.extend(time.to_be_bytes());
                }
                if config.rapid {
                    bpdu.push(0); // version 1 has nothing to add
                }
            }
        }
        let mut frame =
            [&GROUP[..], &source, &((bpdu.len() + LLC.len()) as u16).to_be_bytes(), &LLC].concat();
        frame.extend(bpdu);
        frame.resize(frame.len().max(SHORTEST), 0);
        frame
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_reads_the_same_and_cut_off_frames_are_none() {
        let times = Times { age: 256, max_age: 5120, hello: 512, forward_delay: 3840 };
        let vector =
            Vector { root: 0x8000_0200_0000_0001, cost: 20_000, bridge: 0x9000_0200_0000_0002, port: 0x8003 };
        for rapid in [false, true] {
            let config = Config {
                rapid,
                sender: Sender::Designated,
                tc: true,
                tc_ack: !rapid,
                proposal: rapid,
                agreement: rapid,
                learning: rapid,
                forwarding: false,
                vector,
                times,
            };
            let frame = Bpdu::Config(config).frame([2, 0, 0, 0, 0, 9]);
            assert_eq!(frame.len(), 60);
            assert_eq!(Bpdu::parse(&frame), Some(Bpdu::Config(config)));
            for len in 0..52 {
                assert_eq!(Bpdu::parse(&frame[..len]), None, "{len} bytes");
            }
        }
        assert_eq!(Bpdu::parse(&Bpdu::Tcn.frame([2; 6])), Some(Bpdu::Tcn));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..80), tail in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Bpdu::parse(&bytes);
            let mut frame = Bpdu::Tcn.frame([2; 6]);
            frame.splice(14 + 3.., tail);
            let _ = Bpdu::parse(&frame);
        }
    }
}
