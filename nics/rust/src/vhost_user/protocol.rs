//! The words of vhost-user, front-end to back-end, as values that can't be nonsense.
//!
//! Names and numbers are those of QEMU's `docs/interop/vhost-user.rst`. A message is 12 bytes of
//! header (request, flags, size of the body; native endian, both ends are on one machine), a body,
//! and up to eight descriptors beside the first byte.

use arrayvec::ArrayVec;

/// Bytes of a header.
pub const HEADER: usize = 12;
/// The longest body that is taken. The longest one defined is a memory table's, 264 bytes.
pub const BODY_MAX: usize = 512;
/// Descriptors that can come with one message.
pub const FDS_MAX: usize = 8;
/// Regions in one memory table message.
pub const REGIONS_MAX: usize = 8;

/// Bytes in front of a part of the configuration space: offset, size, flags.
const CONFIG_HEADER: usize = 12;
/// Bytes that a configuration space may have, and those that a network device's fields take (virtio
/// 1.2, 5.1.4; up to `duplex`).
pub const CONFIG_MAX: usize = 256;
pub const CONFIG_FIELDS: usize = 17;
/// The longest answer, a configuration space.
const ANSWER_MAX: usize = HEADER + CONFIG_HEADER + CONFIG_MAX;

const VERSION_MASK: u32 = 3;
const VERSION: u32 = 1;
const REPLY: u32 = 4;
const NEED_REPLY: u32 = 8;

/// Feature bits of the device (virtio 1.2, 5.1.3 and 6) and of vhost.
pub mod feature {
    pub const CSUM: u64 = 1 << 0;
    pub const GUEST_CSUM: u64 = 1 << 1;
    pub const MTU: u64 = 1 << 3;
    pub const MAC: u64 = 1 << 5;
    pub const GUEST_TSO4: u64 = 1 << 7;
    pub const GUEST_TSO6: u64 = 1 << 8;
    pub const GUEST_ECN: u64 = 1 << 9;
    pub const HOST_TSO4: u64 = 1 << 11;
    pub const HOST_TSO6: u64 = 1 << 12;
    pub const HOST_ECN: u64 = 1 << 13;
    pub const MRG_RXBUF: u64 = 1 << 15;
    pub const STATUS: u64 = 1 << 16;
    pub const CTRL_VQ: u64 = 1 << 17;
    pub const GUEST_ANNOUNCE: u64 = 1 << 21;
    pub const MQ: u64 = 1 << 22;
    pub const LOG_ALL: u64 = 1 << 26;
    pub const ANY_LAYOUT: u64 = 1 << 27;
    pub const INDIRECT_DESC: u64 = 1 << 28;
    pub const EVENT_IDX: u64 = 1 << 29;
    pub const PROTOCOL_FEATURES: u64 = 1 << 30;
    pub const VERSION_1: u64 = 1 << 32;
    pub const RING_PACKED: u64 = 1 << 34;
    pub const IN_ORDER: u64 = 1 << 35;
    pub const GUEST_USO4: u64 = 1 << 54;
    pub const GUEST_USO6: u64 = 1 << 55;
    pub const HOST_USO: u64 = 1 << 56;

    /// What a guest may leave for us to complete when it sends.
    pub const SENDS_OFFLOADS: u64 = CSUM | HOST_TSO4 | HOST_TSO6 | HOST_ECN | HOST_USO;
    /// What a guest takes uncompleted when it receives.
    pub const TAKES_OFFLOADS: u64 =
        GUEST_CSUM | GUEST_TSO4 | GUEST_TSO6 | GUEST_ECN | GUEST_USO4 | GUEST_USO6;
}

/// Protocol feature bits.
pub mod protocol_feature {
    pub const MQ: u64 = 1 << 0;
    pub const LOG_SHMFD: u64 = 1 << 1;
    pub const RARP: u64 = 1 << 2;
    pub const REPLY_ACK: u64 = 1 << 3;
    pub const NET_MTU: u64 = 1 << 4;
    pub const CONFIG: u64 = 1 << 9;
    pub const INFLIGHT_SHMFD: u64 = 1 << 12;
    pub const RESET_DEVICE: u64 = 1 << 13;
    pub const CONFIGURE_MEM_SLOTS: u64 = 1 << 15;
    pub const STATUS: u64 = 1 << 16;
}

/// A header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub request: u32,
    pub need_reply: bool,
    pub size: usize,
}

impl Header {
    /// From the first 12 bytes of a message.
    pub fn parse(b: &[u8; HEADER]) -> Result<Header, Malformed> {
        let mut b = Body(b);
        let (request, flags, size) = (b.u32()?, b.u32()?, b.u32()? as usize);
        if flags & VERSION_MASK != VERSION || flags & REPLY != 0 {
            return Err(Malformed("a header that is no version 1 request"));
        }
        if size > BODY_MAX {
            return Err(Malformed("a body longer than any message has"));
        }
        Ok(Header { request, need_reply: flags & NEED_REPLY != 0, size })
    }
}

/// The answer to `request`, as bytes.
#[must_use]
pub fn answer(request: u32, body: &Answer) -> ArrayVec<u8, ANSWER_MAX> {
    let mut out = ArrayVec::new();
    let mut words = |bytes: &[u8]| {
        // There is always room: ANSWER_MAX is the length of the longest.
        let _ = out.try_extend_from_slice(bytes);
    };
    let size: u32 = match body {
        Answer::U64(_) | Answer::VringState { .. } => 8,
        Answer::Inflight(_) => 24,
        Answer::Config { at, .. } => CONFIG_HEADER as u32 + at.size,
        Answer::Nothing => 0,
    };
    words(&request.to_ne_bytes());
    words(&(VERSION | REPLY).to_ne_bytes());
    words(&size.to_ne_bytes());
    match *body {
        Answer::U64(value) => words(&value.to_ne_bytes()),
        Answer::VringState { index, num } => {
            words(&index.to_ne_bytes());
            words(&num.to_ne_bytes());
        }
        Answer::Inflight(i) => {
            words(&i.mmap_size.to_ne_bytes());
            words(&i.mmap_offset.to_ne_bytes());
            words(&i.queues.to_ne_bytes());
            words(&i.queue_size.to_ne_bytes());
            words(&[0; 4]);
        }
        Answer::Config { at, space } => {
            words(&at.offset.to_ne_bytes());
            words(&at.size.to_ne_bytes());
            words(&at.flags.to_ne_bytes());
            // What lies behind the fields that there are reads as zeros.
            for at in at.offset as usize..at.offset as usize + at.size as usize {
                words(&[space.get(at).copied().unwrap_or(0)]);
            }
        }
        Answer::Nothing => {}
    }
    out
}

/// What can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    U64(u64),
    VringState {
        index: u32,
        num: u32,
    },
    Inflight(InflightSpec),
    /// A part of the device's configuration space.
    Config {
        at: ConfigSpec,
        space: [u8; CONFIG_FIELDS],
    },
    /// No body at all, which says that the request can't be carried out.
    Nothing,
}

/// A part of the configuration space, within [`CONFIG_MAX`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigSpec {
    pub offset: u32,
    pub size: u32,
    pub flags: u32,
}

/// One region of guest memory, as told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionSpec {
    /// Where the guest sees it.
    pub gpa: u64,
    /// Its bytes.
    pub size: u64,
    /// Where the front-end sees it; ring addresses are told this way.
    pub uva: u64,
    /// Where it begins in its file.
    pub offset: u64,
}

/// Where a ring lies, in the front-end's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VringAddr {
    pub index: u32,
    pub flags: u32,
    pub desc: u64,
    pub used: u64,
    pub avail: u64,
    /// Guest address that the used ring is logged at, when flag bit 0 is set.
    pub log: u64,
}

/// The region that tells a restarted back-end what was in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InflightSpec {
    pub mmap_size: u64,
    pub mmap_offset: u64,
    pub queues: u16,
    pub queue_size: u16,
}

/// A request with its body.
#[allow(clippy::large_enum_variant)] // one at a time, on the stack
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    GetFeatures,
    SetFeatures(u64),
    SetOwner,
    ResetOwner,
    SetMemTable(ArrayVec<RegionSpec, REGIONS_MAX>),
    SetLogBase {
        size: u64,
        offset: u64,
    },
    SetLogFd,
    SetVringNum {
        index: u32,
        num: u32,
    },
    SetVringAddr(VringAddr),
    SetVringBase {
        index: u32,
        base: u32,
    },
    GetVringBase {
        index: u32,
    },
    SetVringKick {
        index: u8,
        fd: bool,
    },
    SetVringCall {
        index: u8,
        fd: bool,
    },
    SetVringErr {
        index: u8,
        fd: bool,
    },
    GetProtocolFeatures,
    SetProtocolFeatures(u64),
    GetQueueNum,
    SetVringEnable {
        index: u32,
        enable: bool,
    },
    SendRarp([u8; 6]),
    NetSetMtu(u64),
    GetInflightFd(InflightSpec),
    SetInflightFd(InflightSpec),
    /// None: of more than there can be.
    GetConfig(Option<ConfigSpec>),
    ResetDevice,
    GetMaxMemSlots,
    AddMemReg(RegionSpec),
    RemMemReg(RegionSpec),
    SetStatus(u64),
    GetStatus,
    /// One that was not negotiated, or that came after this was written.
    Unknown(u32),
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

struct Body<'a>(&'a [u8]);

impl Body<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (now, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed("a body that is too short"))?;
        self.0 = rest;
        Ok(*now)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_ne_bytes(self.take()?))
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_ne_bytes(self.take()?))
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_ne_bytes(self.take()?))
    }

    fn region(&mut self) -> Result<RegionSpec, Malformed> {
        Ok(RegionSpec { gpa: self.u64()?, size: self.u64()?, uva: self.u64()?, offset: self.u64()? })
    }

    fn inflight(&mut self) -> Result<InflightSpec, Malformed> {
        Ok(InflightSpec {
            mmap_size: self.u64()?,
            mmap_offset: self.u64()?,
            queues: self.u16()?,
            queue_size: self.u16()?,
        })
    }

    /// A ring's number, and whether a descriptor comes with it (bit 8 clear).
    fn vring_fd(&mut self) -> Result<(u8, bool), Malformed> {
        let value = self.u64()?;
        Ok((value as u8, value & 0x100 == 0))
    }
}

impl Request {
    /// A body of exactly the header's size, read as what its request says. Bodies longer than
    /// needed are fine (structs grow at their end), shorter ones are not.
    pub fn parse(request: u32, body: &[u8]) -> Result<Request, Malformed> {
        let mut b = Body(body);
        Ok(match request {
            1 => Request::GetFeatures,
            2 => Request::SetFeatures(b.u64()?),
            3 => Request::SetOwner,
            4 => Request::ResetOwner,
            5 => {
                let n = b.u32()? as usize;
                b.u32()?;
                if n > REGIONS_MAX {
                    return Err(Malformed("a memory table of more than 8 regions"));
                }
                let mut regions = ArrayVec::new();
                for _ in 0..n {
                    regions.push(b.region()?);
                }
                Request::SetMemTable(regions)
            }
            // Before LOG_SHMFD the body was one address; such front-ends are not taken.
            6 => Request::SetLogBase { size: b.u64()?, offset: b.u64()? },
            7 => Request::SetLogFd,
            8 => Request::SetVringNum { index: b.u32()?, num: b.u32()? },
            9 => Request::SetVringAddr(VringAddr {
                index: b.u32()?,
                flags: b.u32()?,
                desc: b.u64()?,
                used: b.u64()?,
                avail: b.u64()?,
                log: b.u64()?,
            }),
            10 => Request::SetVringBase { index: b.u32()?, base: b.u32()? },
            11 => Request::GetVringBase { index: b.u32()? },
            12 => {
                let (index, fd) = b.vring_fd()?;
                Request::SetVringKick { index, fd }
            }
            13 => {
                let (index, fd) = b.vring_fd()?;
                Request::SetVringCall { index, fd }
            }
            14 => {
                let (index, fd) = b.vring_fd()?;
                Request::SetVringErr { index, fd }
            }
            15 => Request::GetProtocolFeatures,
            16 => Request::SetProtocolFeatures(b.u64()?),
            17 => Request::GetQueueNum,
            18 => Request::SetVringEnable { index: b.u32()?, enable: b.u32()? != 0 },
            19 => Request::SendRarp(b.take()?),
            20 => Request::NetSetMtu(b.u64()?),
            24 => {
                let at = ConfigSpec { offset: b.u32()?, size: b.u32()?, flags: b.u32()? };
                let end = at.offset.checked_add(at.size);
                Request::GetConfig(end.is_some_and(|end| end <= CONFIG_MAX as u32).then_some(at))
            }
            31 => Request::GetInflightFd(b.inflight()?),
            32 => Request::SetInflightFd(b.inflight()?),
            34 => Request::ResetDevice,
            36 => Request::GetMaxMemSlots,
            37 | 38 => {
                b.u64()?;
                let region = b.region()?;
                if request == 37 { Request::AddMemReg(region) } else { Request::RemMemReg(region) }
            }
            39 => Request::SetStatus(b.u64()?),
            40 => Request::GetStatus,
            other => Request::Unknown(other),
        })
    }

    /// How many descriptors must come with it: at least, at most.
    #[must_use]
    pub fn fds(&self) -> (usize, usize) {
        match self {
            Request::SetMemTable(regions) => (regions.len(), regions.len()),
            Request::SetVringKick { fd, .. }
            | Request::SetVringCall { fd, .. }
            | Request::SetVringErr { fd, .. } => (usize::from(*fd), usize::from(*fd)),
            Request::SetLogBase { .. } | Request::SetLogFd => (1, 1),
            Request::SetInflightFd(_) | Request::AddMemReg(_) => (1, 1),
            // Some front-ends send one along, and none of those that were defined later takes more; it is closed.
            Request::RemMemReg(_) | Request::Unknown(_) => (0, 1),
            _ => (0, 0),
        }
    }

    /// Whether it has memory mapped.
    #[must_use]
    pub fn maps(&self) -> bool {
        matches!(
            self,
            Request::SetMemTable(_)
                | Request::AddMemReg(_)
                | Request::SetLogBase { .. }
                | Request::SetInflightFd(_)
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_header_must_be_a_version_1_request_of_bounded_size() {
        let header = |request: u32, flags: u32, size: u32| {
            let mut b = [0; HEADER];
            b[..4].copy_from_slice(&request.to_ne_bytes());
            b[4..8].copy_from_slice(&flags.to_ne_bytes());
            b[8..].copy_from_slice(&size.to_ne_bytes());
            Header::parse(&b)
        };
        assert_eq!(header(5, 9, 264), Ok(Header { request: 5, need_reply: true, size: 264 }));
        assert!(header(5, 0, 0).is_err());
        assert!(header(5, 2, 0).is_err());
        assert!(header(5, 5, 0).is_err());
        assert!(header(5, 1, BODY_MAX as u32 + 1).is_err());
        assert!(header(5, 1, u32::MAX).is_err());
    }

    #[test]
    fn every_body_may_be_cut_anywhere_without_harm() {
        let body = [0xff; BODY_MAX];
        for request in 0..64 {
            for len in 0..=BODY_MAX {
                let _ = Request::parse(request, &body[..len]);
            }
        }
        assert!(Request::parse(2, &[0; 7]).is_err());
        assert!(Request::parse(5, &[9, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn a_memory_table_is_read_in_order() {
        let mut body = vec![];
        for word in [2u64, 1, 2, 3, 4, 5, 6, 7, 8] {
            body.extend(word.to_ne_bytes());
        }
        let Request::SetMemTable(regions) = Request::parse(5, &body).unwrap() else { panic!() };
        assert_eq!(regions[1], RegionSpec { gpa: 5, size: 6, uva: 7, offset: 8 });
    }

    #[test]
    fn answers_have_the_size_they_say() {
        for (answer_, size) in [
            (Answer::U64(7), 8),
            (Answer::VringState { index: 1, num: 2 }, 8),
            (Answer::Config { at: ConfigSpec { offset: 4, size: 240, flags: 0 }, space: [7; 17] }, 252),
            (Answer::Nothing, 0),
            (Answer::Inflight(InflightSpec { mmap_size: 1, mmap_offset: 2, queues: 3, queue_size: 4 }), 24),
        ] {
            let bytes = answer(11, &answer_);
            assert_eq!(bytes.len(), HEADER + size);
            assert_eq!(bytes[8], size as u8);
            assert_eq!(bytes[4], 5);
        }
    }
}
