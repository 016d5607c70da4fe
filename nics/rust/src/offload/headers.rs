//! Where the headers of a frame are, found by looking and not by believing its offload header.

const ETH: usize = 14;
/// Tags in front of the network header: two that a frame may come with, one that a port adds.
const TAGS_MAX: usize = 3;
/// IPv6 extension headers walked; more is nobody's traffic.
const EXTENSIONS_MAX: usize = 6;

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

/// Offsets into a frame that holds TCP or UDP in an IP packet which is no fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    pub ipv6: bool,
    /// [`TCP`] or [`UDP`].
    pub proto: u8,
    /// Of the IP header.
    pub l3: usize,
    /// Of the TCP or UDP header.
    pub l4: usize,
    /// Of the payload.
    pub payload: usize,
    /// Of the end of the packet as the IP header tells it; not checked against anything, because
    /// the IP header of a super-frame may say anything there.
    pub ip_end: usize,
    /// Of the address that stands for the destination in the pseudo-header: behind a routing header
    /// that is the final one (RFC 8200, 8.1).
    pub final_dst: usize,
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

impl Headers {
    /// Look at the first bytes of a frame. None when they are not TCP or UDP over IP, or cut off
    /// before the fixed part of that header ends.
    #[inline(always)]
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Headers> {
        let mut l3 = ETH;
        let mut ethertype = be16(bytes, 12)?;
        for _ in 0..TAGS_MAX {
            if ethertype != 0x8100 && ethertype != 0x88a8 {
                break;
            }
            ethertype = be16(bytes, l3 + 2)?;
            l3 += 4;
        }
        let mut headers = match ethertype {
            0x0800 => Headers::ipv4(bytes, l3)?,
            0x86dd => Headers::ipv6(bytes, l3)?,
            _ => return None,
        };
        headers.payload = headers.l4
            + match headers.proto {
                TCP => {
                    let len = usize::from(*bytes.get(headers.l4 + 12)? >> 4) * 4;
                    if len < 20 || bytes.len() < headers.l4 + 20 {
                        return None;
                    }
                    len
                }
                UDP if bytes.len() >= headers.l4 + 8 => 8,
                _ => return None,
            };
        Some(headers)
    }

    fn ipv4(bytes: &[u8], l3: usize) -> Option<Headers> {
        let first = *bytes.get(l3)?;
        let len = usize::from(first & 15) * 4;
        let fragment = be16(bytes, l3 + 6)? & 0x3fff;
        if first >> 4 != 4 || len < 20 || fragment != 0 {
            return None;
        }
        Some(Headers {
            ipv6: false,
            proto: *bytes.get(l3 + 9)?,
            l3,
            l4: l3 + len,
            payload: 0,
            ip_end: l3 + usize::from(be16(bytes, l3 + 2)?),
            final_dst: l3 + 16,
        })
    }

    fn ipv6(bytes: &[u8], l3: usize) -> Option<Headers> {
        if bytes.get(l3)? >> 4 != 6 {
            return None;
        }
        let mut proto = *bytes.get(l3 + 6)?;
        let mut l4 = l3 + 40;
        let mut final_dst = l3 + 24;
        for _ in 0..EXTENSIONS_MAX {
            if !matches!(proto, 0 | 43 | 60) {
                break;
            }
            let next = *bytes.get(l4)?;
            let len = 8 + 8 * usize::from(*bytes.get(l4 + 1)?);
            if proto == 43 && *bytes.get(l4 + 3)? > 0 {
                // Mobility (2) and segment routing (4) keep the final destination first.
                if !matches!(*bytes.get(l4 + 2)?, 2 | 4) || len < 24 || bytes.len() < l4 + 24 {
                    return None;
                }
                final_dst = l4 + 8;
            }
            proto = next;
            l4 += len;
        }
        let ip_end = l3 + 40 + usize::from(be16(bytes, l3 + 4)?);
        Some(Headers { ipv6: true, proto, l3, l4, payload: 0, ip_end, final_dst })
    }

    /// Where in the TCP or UDP header its checksum is.
    #[inline]
    #[must_use]
    pub fn checksum_offset(&self) -> usize {
        if self.proto == TCP { 16 } else { 6 }
    }

    /// The checksum of TCP or UDP as it stands in its header. Only for UDP a zero has another meaning (RFC 768);
    /// TCP's is one (RFC 1624), and Wireshark calls 0xffff wrong there.
    #[inline]
    #[must_use]
    pub fn checksum(&self, sum: u64) -> [u8; 2] {
        use super::checksum::{finish, finish_nonzero};
        if self.proto == UDP { finish_nonzero(sum) } else { finish(sum) }
    }

    /// The sum of the pseudo-header over `bytes`, a frame that these headers were parsed from, for
    /// `len` bytes of TCP or UDP.
    #[inline]
    #[must_use]
    pub fn pseudo(&self, bytes: &[u8], len: usize) -> u64 {
        use super::checksum::sum;
        let (src, size) = if self.ipv6 { (self.l3 + 8, 16) } else { (self.l3 + 12, 4) };
        sum(&bytes[src..src + size])
            + sum(&bytes[self.final_dst..self.final_dst + size])
            + sum(&(len as u32).to_be_bytes())
            + sum(&[0, self.proto])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_of_zero_is_another_for_udp_alone() {
        let headers =
            Headers { ipv6: false, proto: TCP, l3: 14, l4: 34, payload: 54, ip_end: 54, final_dst: 30 };
        assert_eq!(headers.checksum(0xffff), [0, 0]);
        assert_eq!(Headers { proto: UDP, ..headers }.checksum(0xffff), [0xff, 0xff]);
        assert_eq!(headers.checksum(0x1), Headers { proto: UDP, ..headers }.checksum(0x1));
    }
}
