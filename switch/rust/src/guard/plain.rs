//! The short way past the guard: what was admitted once from a station is admitted again, if it is plain.
//!
//! What makes a packet plain must leave nothing for any other rule of the guard to say. Whoever adds a rule for
//! IPv4 or IPv6 looks here, too.

use super::Guard;
use crate::headers::{TCP, UDP, be128};

impl Guard {
    /// The source of a frame that is so plain that nothing but its source decides: untagged IPv4
    /// without options, no fragment, with TCP or with UDP that is not DHCP. What else `admits` looks at
    /// has nothing to say about such a frame. 0 for any other.
    #[inline(always)]
    pub(crate) fn plain4(head: &[u8]) -> u32 {
        let Some(b) = head.first_chunk::<38>() else { return 0 };
        let word = |at: usize| u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        let (kind, part, ports) = (word(12) & 0xffff_ff00, word(20) & 0x3fff_00ff, word(34));
        let (from, to) = (ports >> 16, ports & 0xffff);
        // No fragment, and the protocol.
        let plain = part == u32::from(TCP) || part == u32::from(UDP) && from != 67 && to != 67 && to != 68;
        if kind == 0x0800_4500 && plain { word(26) } else { 0 }
    }

    /// The same of untagged IPv6 without extension headers; 0 for any other frame.
    #[inline]
    pub(crate) fn plain6(head: &[u8]) -> u128 {
        let Some(b) = head.first_chunk::<58>() else { return 0 };
        let plain = u32::from_be_bytes([b[12], b[13], b[14] & 0xf0, 0]) == 0x86dd_6000;
        let (from, to) = (u16::from_be_bytes([b[54], b[55]]), u16::from_be_bytes([b[56], b[57]]));
        let special = from == 547 || to == 547 || to == 546;
        if plain && (b[20] == TCP || (b[20] == UDP && !special)) { be128(b, 22).unwrap_or(0) } else { 0 }
    }

    /// Whether a plain frame that was admitted once from a station is admitted again whenever its
    /// source is the same. Not where the guest may change its MAC address: there the last one counts.
    #[inline]
    pub(crate) fn remembers(&self) -> bool {
        !self.roles.mac_changes
    }
}
