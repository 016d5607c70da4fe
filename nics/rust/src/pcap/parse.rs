//! Capture files, read as bytes come: pcap and pcapng, of either byte order, with microseconds,
//! nanoseconds or any resolution that pcapng knows, of any number of interfaces and sections.
//!
//! No I/O and no buffer of its own: [`Parser::next`] looks at the bytes there are and says what they
//! are, how many more it needs, or how many to pass over unread. A file is hostile until it is played:
//! every length is checked before it is believed, nothing grows with what it claims, and what it
//! holds besides Ethernet frames is passed over and counted.
//!
//! pcap: draft-ietf-opsawg-pcap; pcapng: draft-ietf-opsawg-pcapng.

use crate::frame::FRAME_MAX;
use std::fmt;

const ETHERNET: u16 = 1;

/// Of a section header or interface description: more than any program writes.
const BLOCK_MAX: usize = 1 << 20;
const INTERFACES_MAX: usize = 1 << 16;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const PACKET: u32 = 6;

/// Bytes that may be needed at once: a frame, what stands around it, and options behind it.
pub const NEED_MAX: usize = if BLOCK_MAX > FRAME_MAX + 4096 { BLOCK_MAX } else { FRAME_MAX + 4096 };

/// What stands at the front of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// A frame: where its bytes lie, and its time in nanoseconds since the epoch, if it has one. The
    /// whole record is `used` bytes long.
    Frame { used: usize, start: usize, end: usize, time: Option<u64> },
    /// Something else: pass over `used` bytes, of which not all need be there yet.
    Other { used: u64, left_out: Option<LeftOut> },
    /// Nothing can be said before there are so many bytes.
    Need(usize),
}

/// Why a packet of the file is not played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// Only its beginning was captured.
    Cut,
    /// It is not from an Ethernet interface.
    NotEthernet,
    /// It is longer than any frame, or empty.
    Length,
}

/// Why a file can't be read (any further).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    NotACapture,
    Version(u16, u16),
    LinkType(u16),
    BlockLength(u32),
    BlockEnds(u32, u32),
    ByteOrder(u32),
    NoSuchInterface(u32),
    TooManyInterfaces,
    PacketLength(u32),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::NotACapture => write!(f, "neither pcap nor pcapng"),
            Problem::Version(major, minor) => write!(f, "version {major}.{minor} of its format is not known"),
            Problem::LinkType(kind) => {
                write!(f, "its link type is {kind}, and only Ethernet (1) can be played")
            }
            Problem::BlockLength(length) => write!(f, "a block of {length} bytes is not possible there"),
            Problem::BlockEnds(a, b) => {
                write!(f, "a block says {a} bytes at its beginning and {b} at its end")
            }
            Problem::ByteOrder(magic) => write!(f, "a section's byte-order magic is {magic:#010x}"),
            Problem::NoSuchInterface(index) => {
                write!(f, "a packet is of interface {index}, which there is not")
            }
            Problem::TooManyInterfaces => write!(f, "more than {INTERFACES_MAX} interfaces"),
            Problem::PacketLength(length) => {
                write!(f, "a packet of {length} bytes does not fit into its block")
            }
        }
    }
}

/// Reads numbers of the file's byte order.
#[derive(Clone, Copy, Debug)]
struct Order {
    big: bool,
}

impl Order {
    fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes: [u8; 2] = bytes.get(at..at + 2)?.try_into().ok()?;
        Some(if self.big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }
}

/// One interface of a pcapng section.
#[derive(Clone, Copy, Debug)]
struct Interface {
    kind: u16,
    snaplen: u32,
    /// `if_tsresol`, `if_tsoffset` (in nanoseconds) and `if_fcslen`.
    resolution: u8,
    offset: i128,
    fcs: usize,
}

#[derive(Debug)]
enum Format {
    /// Nothing was seen yet.
    Unknown,
    Pcap {
        order: Order,
        /// Nanoseconds in a unit of the fraction.
        unit: u64,
        /// Bytes of a record's header, and of the check sequence at the end of its packet.
        header: usize,
        fcs: usize,
    },
    Pcapng {
        order: Order,
        interfaces: Vec<Interface>,
    },
}

/// See the top of the file.
#[derive(Debug)]
pub struct Parser {
    format: Format,
}

impl Default for Parser {
    fn default() -> Self {
        Parser { format: Format::Unknown }
    }
}

impl Parser {
    /// What stands at the front of `bytes`. The caller goes on behind it. An error is final.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Item, Problem> {
        match &self.format {
            Format::Unknown => self.begin(bytes),
            Format::Pcap { order, unit, header, fcs } => record(*order, *unit, *header, *fcs, bytes),
            Format::Pcapng { .. } => self.block(bytes),
        }
    }

    fn begin(&mut self, bytes: &[u8]) -> Result<Item, Problem> {
        let Some(magic) = (Order { big: true }).u32(bytes, 0) else { return Ok(Item::Need(4)) };
        if magic == SECTION {
            self.format = Format::Pcapng { order: Order { big: true }, interfaces: Vec::new() };
            return self.block(bytes);
        }
        let (big, unit, header) = match magic {
            0xa1b2_c3d4 => (true, 1000, 16),
            0xd4c3_b2a1 => (false, 1000, 16),
            0xa1b2_3c4d => (true, 1, 16),
            0x4d3c_b2a1 => (false, 1, 16),
            // Kuznetzov's libpcap: more behind each length.
            0xa1b2_cd34 => (true, 1000, 24),
            0x34cd_b2a1 => (false, 1000, 24),
            _ => return Err(Problem::NotACapture),
        };
        let order = Order { big };
        let (Some(major), Some(minor), Some(kind)) =
            (order.u16(bytes, 4), order.u16(bytes, 6), order.u32(bytes, 20))
        else {
            return Ok(Item::Need(24));
        };
        if major != 2 {
            return Err(Problem::Version(major, minor));
        }
        if kind as u16 != ETHERNET {
            return Err(Problem::LinkType(kind as u16));
        }
        // The upper half: bit 26 says that packets end in a check sequence of bits 28 to 31 halves.
        let fcs = if kind & 1 << 26 != 0 { (kind >> 28) as usize * 2 } else { 0 };
        self.format = Format::Pcap { order, unit, header, fcs };
        Ok(Item::Other { used: 24, left_out: None })
    }

    fn block(&mut self, bytes: &[u8]) -> Result<Item, Problem> {
        let Format::Pcapng { order, interfaces } = &mut self.format else { return Err(Problem::NotACapture) };
        // A section's type reads the same in both orders; its length can be read behind its magic.
        if bytes.get(..4) == Some(&SECTION.to_be_bytes()) {
            let Some(magic) = (Order { big: true }).u32(bytes, 8) else { return Ok(Item::Need(12)) };
            order.big = match magic {
                0x1a2b_3c4d => true,
                0x4d3c_2b1a => false,
                _ => return Err(Problem::ByteOrder(magic)),
            };
        }
        let order = *order;
        let (Some(kind), Some(total)) = (order.u32(bytes, 0), order.u32(bytes, 4)) else {
            return Ok(Item::Need(8));
        };
        let length = total as usize;
        if length < 12 || !length.is_multiple_of(4) {
            return Err(Problem::BlockLength(total));
        }
        let wanted = match kind {
            SECTION | INTERFACE if length > BLOCK_MAX => return Err(Problem::BlockLength(total)),
            PACKET | OLD_PACKET | SIMPLE_PACKET if length > NEED_MAX => {
                return Ok(Item::Other { used: total.into(), left_out: Some(LeftOut::Length) });
            }
            SECTION | INTERFACE | PACKET | OLD_PACKET | SIMPLE_PACKET => length,
            _ => return Ok(Item::Other { used: total.into(), left_out: None }),
        };
        let Some(block) = bytes.get(..wanted) else { return Ok(Item::Need(wanted)) };
        match order.u32(block, length - 4) {
            Some(end) if end == total => {}
            end => return Err(Problem::BlockEnds(total, end.unwrap_or(0))),
        }
        let body = &block[..length - 4];
        let short = Problem::BlockLength(total);
        let other = Item::Other { used: total.into(), left_out: None };
        match kind {
            SECTION => {
                let (major, minor) = order.u16(body, 12).zip(order.u16(body, 14)).ok_or(short)?;
                // 1.2 was written by mistake, and means 1.0.
                if major != 1 || minor != 0 && minor != 2 {
                    return Err(Problem::Version(major, minor));
                }
                interfaces.clear();
                Ok(other)
            }
            INTERFACE => {
                if interfaces.len() >= INTERFACES_MAX {
                    return Err(Problem::TooManyInterfaces);
                }
                interfaces.push(interface(order, body).ok_or(short)?);
                Ok(other)
            }
            _ => packet(order, interfaces, kind, body, length).ok_or(short)?,
        }
    }
}

/// A pcap record.
fn record(order: Order, unit: u64, header: usize, fcs: usize, bytes: &[u8]) -> Result<Item, Problem> {
    let (Some(seconds), Some(fraction), Some(kept), Some(len)) =
        (order.u32(bytes, 0), order.u32(bytes, 4), order.u32(bytes, 8), order.u32(bytes, 12))
    else {
        return Ok(Item::Need(header));
    };
    // Nothing in the format says where the next record is if this length is wrong, so one that
    // can't be true ends the file; the bound is libpcap's.
    if kept > 262_144 {
        return Err(Problem::PacketLength(kept));
    }
    let used = header + kept as usize;
    if let Err(left_out) = playable(kept as usize, len as usize, fcs) {
        return Ok(Item::Other { used: used as u64, left_out: Some(left_out) });
    }
    if bytes.len() < used {
        return Ok(Item::Need(used));
    }
    let time = u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * unit;
    Ok(Item::Frame { used, start: header, end: used - fcs, time: Some(time) })
}

fn playable(kept: usize, len: usize, fcs: usize) -> Result<(), LeftOut> {
    if kept < len {
        return Err(LeftOut::Cut);
    }
    if kept <= fcs || kept - fcs > FRAME_MAX { Err(LeftOut::Length) } else { Ok(()) }
}

/// A pcapng packet block of any of the three sorts; `None`: it is too short for what it must hold.
fn packet(
    order: Order,
    interfaces: &[Interface],
    kind: u32,
    body: &[u8],
    used: usize,
) -> Option<Result<Item, Problem>> {
    let (index, time, kept, len, start) = match kind {
        SIMPLE_PACKET => (0, None, None, order.u32(body, 8)?, 12),
        _ => {
            let index = if kind == PACKET { order.u32(body, 8)? } else { order.u16(body, 8)?.into() };
            let time = u64::from(order.u32(body, 12)?) << 32 | u64::from(order.u32(body, 16)?);
            (index, Some(time), Some(order.u32(body, 20)?), order.u32(body, 24)?, 28)
        }
    };
    let Some(interface) = interfaces.get(index as usize) else {
        return Some(Err(Problem::NoSuchInterface(index)));
    };
    // A simple packet has no captured length: it follows from the interface's.
    let kept = kept.unwrap_or(if interface.snaplen == 0 { len } else { len.min(interface.snaplen) });
    let room = body.len() - start.min(body.len());
    if kept as usize > room {
        return Some(Err(Problem::PacketLength(kept)));
    }
    let (kept, len) = (kept as usize, len as usize);
    let flags = if kind == PACKET {
        options(order, &body[start + kept.next_multiple_of(4).min(room)..], 2)
    } else {
        None
    };
    let fcs = match flags.and_then(|flags| order.u32(flags, 0)).map(|flags| flags >> 5 & 0xf) {
        Some(fcs) if fcs > 0 => fcs as usize,
        _ => interface.fcs,
    };
    let left_out = match playable(kept, len, fcs) {
        _ if interface.kind != ETHERNET => LeftOut::NotEthernet,
        Err(left_out) => left_out,
        Ok(()) => {
            let time = time.map(|ticks| interface.time(ticks));
            return Some(Ok(Item::Frame { used, start, end: start + kept - fcs, time }));
        }
    };
    Some(Ok(Item::Other { used: used as u64, left_out: Some(left_out) }))
}

fn interface(order: Order, body: &[u8]) -> Option<Interface> {
    let (kind, snaplen) = (order.u16(body, 8)?, order.u32(body, 12)?);
    let behind = body.get(16..)?;
    let one = |code| options(order, behind, code).and_then(|value| value.first().copied());
    let offset = options(order, behind, 14).and_then(|value| {
        let (first, second) = (u64::from(order.u32(value, 0)?), u64::from(order.u32(value, 4)?));
        Some(if order.big { first << 32 | second } else { second << 32 | first } as i64)
    });
    Some(Interface {
        kind,
        snaplen,
        resolution: one(9).unwrap_or(6),
        offset: i128::from(offset.unwrap_or(0)) * 1_000_000_000,
        fcs: one(13).unwrap_or(0).into(),
    })
}

/// The value of the first option `code` among `options`.
fn options(order: Order, mut options: &[u8], code: u16) -> Option<&[u8]> {
    loop {
        let (found, length) = (order.u16(options, 0)?, usize::from(order.u16(options, 2)?));
        if found == 0 {
            return None;
        }
        let value = options.get(4..4 + length)?;
        if found == code {
            return Some(value);
        }
        options = options.get(4 + length.next_multiple_of(4)..)?;
    }
}

impl Interface {
    /// Ticks as nanoseconds since the epoch, as far as there are such.
    fn time(&self, ticks: u64) -> u64 {
        let exponent = u32::from(self.resolution & 0x7f);
        let ticks = i128::from(ticks);
        let time = if self.resolution & 0x80 != 0 {
            // 2^64 * 10^9 is below 2^94, so this does not overflow.
            (ticks * 1_000_000_000) >> exponent
        } else if exponent <= 9 {
            ticks * 10_i128.pow(9 - exponent)
        } else {
            10_i128.checked_pow(exponent - 9).map_or(0, |divisor| ticks / divisor)
        };
        (time + self.offset).clamp(0, u64::MAX.into()) as u64
    }
}
