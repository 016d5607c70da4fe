//! ERSPAN type II: a copy in GRE, for a collector that is elsewhere (draft-foschiano-erspan-03, 4.2).
//!
//! ```text
//! Ethernet | 802.1Q, perhaps | IPv4 or IPv6 | GRE with a sequence number (RFC 2890) | ERSPAN | the copy
//! ```

use nics::offload::checksum;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use switch::{Mac, VlanId};

const GRE: u8 = 47;
/// Hops that a packet may take.
const TTL: u8 = 64;
/// A sequence number is there (RFC 2890), and the protocol is ERSPAN type II.
const GRE_WORDS: [u8; 4] = [0x10, 0x00, 0x88, 0xbe];
const GRE_LEN: usize = 8;
const ERSPAN_LEN: usize = 8;

/// A session with a collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erspan {
    /// The next hop's address and ours.
    pub dst: Mac,
    pub src: Mac,
    /// The VLAN id on the uplink's wire; None: untagged.
    pub vid: Option<VlanId>,
    /// Both of one family.
    pub from: IpAddr,
    pub to: IpAddr,
    /// 0..=1023.
    pub session: u16,
}

/// What is said of one copy.
#[derive(Clone, Copy, Debug)]
pub struct Packed {
    pub sequence: u32,
    /// Of the frame; 0: it had none yet.
    pub vlan: VlanId,
    /// Its priority, 0..=7.
    pub cos: u8,
    /// The copy has its 802.1Q tag.
    pub tagged: bool,
    /// It is not all of the frame.
    pub cut: bool,
    /// Where it came in: the port's number. 20 bits.
    pub index: u32,
    /// Bytes of the copy.
    pub len: usize,
}

impl Erspan {
    /// Bytes in front of the copy.
    #[must_use]
    pub fn front(&self) -> usize {
        let ip = if self.from.is_ipv4() { 20 } else { 40 };
        14 + self.vid.map_or(0, |_| 4) + ip + GRE_LEN + ERSPAN_LEN
    }

    /// Write them to `out`, which is as long.
    pub fn write(&self, out: &mut [u8], packed: &Packed) {
        let mut out = Writer(out);
        out.put(&self.dst);
        out.put(&self.src);
        if let Some(vid) = self.vid {
            out.put(&[0x81, 0x00]);
            out.put(&vid.to_be_bytes());
        }
        let inner = GRE_LEN + ERSPAN_LEN + packed.len;
        match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => out.put_ip4(from, to, inner),
            (IpAddr::V6(from), IpAddr::V6(to)) => out.put_ip6(from, to, inner),
            _ => {}
        }
        out.put(&GRE_WORDS);
        out.put(&packed.sequence.to_be_bytes());
        // Ver 1, VLAN; COS, En (3: its tag is there), T, session; reserved, index.
        out.put(&(1 << 12 | packed.vlan & 0xfff).to_be_bytes());
        let en: u16 = if packed.tagged { 3 } else { 0 };
        let word =
            u16::from(packed.cos & 7) << 13 | en << 11 | u16::from(packed.cut) << 10 | self.session & 0x3ff;
        out.put(&word.to_be_bytes());
        out.put(&(packed.index & 0xf_ffff).to_be_bytes());
    }
}

/// What is still to be written.
struct Writer<'a>(&'a mut [u8]);

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let rest = std::mem::take(&mut self.0);
        if let Some((now, later)) = rest.split_at_mut_checked(bytes.len()) {
            now.copy_from_slice(bytes);
            self.0 = later;
        }
    }

    fn put_ip4(&mut self, from: Ipv4Addr, to: Ipv4Addr, inner: usize) {
        self.put(&[0x08, 0x00]);
        let mut header = [0; 20];
        header[0] = 0x45;
        header[2..4].copy_from_slice(&u16::try_from(20 + inner).unwrap_or(u16::MAX).to_be_bytes());
        // Atomic: never fragmented, so it needs no identification (RFC 6864).
        header[6] = 0x40;
        header[8] = TTL;
        header[9] = GRE;
        header[12..16].copy_from_slice(&from.octets());
        header[16..20].copy_from_slice(&to.octets());
        let sum = checksum::finish(checksum::sum(&header));
        header[10..12].copy_from_slice(&sum);
        self.put(&header);
    }

    fn put_ip6(&mut self, from: Ipv6Addr, to: Ipv6Addr, inner: usize) {
        self.put(&[0x86, 0xdd, 0x60, 0, 0, 0]);
        self.put(&u16::try_from(inner).unwrap_or(u16::MAX).to_be_bytes());
        self.put(&[GRE, TTL]);
        self.put(&from.octets());
        self.put(&to.octets());
    }
}
