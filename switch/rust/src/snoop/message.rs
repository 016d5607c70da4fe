//! What DHCP messages say about addresses (RFC 2131, RFC 8415).

use super::bindings::MOST;
use crate::headers::{self, Part, UDP, be16, be32, be128, mac};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A server to the client with this hardware address (none in DHCPv6).
    Bound(Option<u64>, Vec<Lease>),
    /// A server: whatever it had is void.
    Refused(u64),
    /// A server to the client with this DUID: its addresses are none of this link.
    Moved(u32),
    /// A client gives these up. A guard has seen to it that they are the client's, where there is one.
    Gone(Vec<IpAddr>),
}

/// An address or prefix, and for how long.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) ip: IpAddr,
    pub(super) prefix: u8,
    /// 0: no longer; `u32::MAX`: for ever.
    pub(super) seconds: u32,
    pub(super) client: u32,
}

/// DHCPv6: a release and a decline (RFC 8415, 7.3).
pub(crate) const GIVES_BACK6: [u8; 2] = [8, 9];
/// DHCPv6 status codes (RFC 8415, 21.13).
const NOT_ON_LINK: u16 = 4;

/// Whether a frame, by its first bytes, may be DHCP.
#[inline]
#[must_use]
pub fn is_dhcp(head: &[u8]) -> bool {
    let at = 12 + 4 * tags(head);
    let port = match (be16(head, at), head.get(at + 11), head.get(at + 8)) {
        (Some(0x0800), Some(&UDP), _) => {
            let header = head.get(at + 2).map_or(0, |first| usize::from(first & 15) * 4);
            be16(head, at + 4 + header)
        }
        (Some(0x86dd), _, Some(&UDP)) => be16(head, at + 44),
        (Some(0x86dd), _, Some(&next)) if headers::is_extension(next) => behind_extensions(head, at),
        _ => None,
    };
    matches!(port, Some(67 | 68 | 546 | 547))
}

/// The port that UDP goes to behind IPv6 extension headers: clients may send some, and guards admit them.
#[cold]
fn behind_extensions(head: &[u8], at: usize) -> Option<u16> {
    let ip = headers::ipv6(head.get(at + 2..)?).ok().filter(|ip| ip.proto == UDP)?;
    be16(ip.upper, 2)
}

fn tags(head: &[u8]) -> usize {
    let is_tag = |n: &usize| matches!(be16(head, 12 + 4 * n), Some(0x8100 | 0x88a8));
    (0..2).take_while(is_tag).count()
}

/// A message's meaning for bindings, if it has one.
pub(super) fn said(frame: &[u8]) -> Option<Said> {
    let at = 12 + 4 * tags(frame);
    let packet = frame.get(at + 2..)?;
    match be16(frame, at)? {
        0x0800 => {
            let ip = headers::ipv4(packet).ok().filter(|ip| ip.part == Part::Whole && ip.proto == UDP)?;
            let (from, to) = (be16(ip.upper, 0)?, be16(ip.upper, 2)?);
            v4(ip.upper.get(8..ip.len.min(ip.upper.len()))?, from == 67 && to == 68, from == 68 && to == 67)
        }
        0x86dd => {
            let ip = headers::ipv6(packet).ok().filter(|ip| ip.part == Part::Whole && ip.proto == UDP)?;
            let (from, to) = (be16(ip.upper, 0)?, be16(ip.upper, 2)?);
            v6(ip.upper.get(8..ip.len.min(ip.upper.len()))?, from == 547 && to == 546, to == 547)
        }
        _ => None,
    }
}

/// DHCPv4, RFC 2131.
fn v4(message: &[u8], server: bool, client: bool) -> Option<Said> {
    let (op, hardware) = (*message.first()?, be16(message, 1)?);
    if hardware != 0x0106 || be32(message, 236)? != 0x6382_5363 {
        return None;
    }
    let (mut kind, mut seconds, mut requested) = (0, None, 0);
    let mut options = message.get(240..)?;
    while let Some((&code, rest)) = options.split_first() {
        match code {
            0 => options = rest,
            255 => break,
            _ => {
                let (&len, rest) = rest.split_first()?;
                let (value, rest) = rest.split_at_checked(usize::from(len))?;
                match (code, len) {
                    (53, 1) => kind = value[0],
                    (51, 4) => seconds = be32(value, 0),
                    (50, 4) => requested = be32(value, 0)?,
                    _ => {}
                }
                options = rest;
            }
        }
    }
    let chaddr = mac(message, 28)?;
    match (op, kind) {
        (2, 5) if server => {
            let yours = Ipv4Addr::from_bits(be32(message, 16)?);
            let host = !yours.is_unspecified()
                && !yours.is_multicast()
                && !yours.is_broadcast()
                && !yours.is_loopback();
            let (seconds, client) = (seconds.unwrap_or(0), 0);
            let lease = Lease { ip: yours.into(), prefix: 32, seconds, client };
            host.then(|| Said::Bound(Some(chaddr), vec![lease]))
        }
        (2, 6) if server => Some(Said::Refused(chaddr)),
        // Whichever of the two a server goes by.
        (1, 4 | 7) if client => {
            Some(Said::Gone([requested, be32(message, 12)?].map(|ip| Ipv4Addr::from_bits(ip).into()).into()))
        }
        _ => None,
    }
}

/// DHCPv6, RFC 8415: a reply, or a release or decline.
fn v6(message: &[u8], server: bool, client: bool) -> Option<Said> {
    let kind = *message.first()?;
    if GIVES_BACK6.contains(&kind) {
        // By address alone: of lifetimes and status codes no server asks here.
        let mut gone = vec![];
        each_lease6(message, &mut |ip, _| gone.push(Ipv6Addr::from_bits(ip).into()))?;
        return client.then_some(Said::Gone(gone));
    }
    let options = message.get(4..)?;
    let (mut duid, mut sender, mut status) = (None, false, 0);
    each_option(options, &mut |code, value| match code {
        1 if !value.is_empty() => duid = Some(number(value)),
        2 => sender = true,
        13 => status = be16(value, 0).unwrap_or(u16::MAX),
        _ => {}
    })?;
    let duid: u32 = duid?;
    let mut found = Vec::new();
    each_option(options, &mut |code, value| {
        // IA_NA, IA_TA, IA_PD: what precedes the options in them.
        let fixed = match code {
            3 | 25 => 12,
            4 => 4,
            _ => return,
        };
        let Some(inner) = value.get(fixed..) else { return };
        let leases = leases6(code, inner);
        let room = MOST.saturating_sub(found.len());
        found.extend(leases.into_iter().take(room).map(|(ip, prefix, seconds)| Lease {
            ip,
            prefix,
            seconds,
            client: duid,
        }));
    })?;
    match kind {
        // A client takes no reply that does not say who answers whom (16.10).
        7 if server && sender && status == NOT_ON_LINK => Some(Said::Moved(duid)),
        7 if server && sender && status == 0 && !found.is_empty() => Some(Said::Bound(None, found)),
        _ => None,
    }
}

/// The addresses in an IA_NA or IA_TA, the prefixes in an IA_PD: (address, prefix, valid for seconds).
/// None where its status says that there is something wrong with it.
fn leases6(ia: u16, options: &[u8]) -> Vec<(IpAddr, u8, u32)> {
    let (mut found, mut status) = (Vec::new(), 0);
    let whole = each_option(options, &mut |code, value| {
        let lease = match (ia, code) {
            (3 | 4, 5) => lease6(be128(value, 0), Some(128), be32(value, 16), be32(value, 20)),
            (25, 26) => lease6(be128(value, 9), value.get(8).copied(), be32(value, 0), be32(value, 4)),
            (_, 13) => {
                status = be16(value, 0).unwrap_or(u16::MAX);
                None
            }
            _ => None,
        };
        found.extend(lease);
    });
    if whole.is_some() && status == 0 { found } else { vec![] }
}

/// One of them, if it is one: preferred no longer than valid (21.6, 21.22), and of hosts.
fn lease6(
    ip: Option<u128>,
    prefix: Option<u8>,
    preferred: Option<u32>,
    valid: Option<u32>,
) -> Option<(IpAddr, u8, u32)> {
    let (ip, prefix, valid) = (Ipv6Addr::from_bits(ip?), prefix?, valid?);
    let host = !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback() && !ip.is_unicast_link_local();
    (host && (16..=128).contains(&prefix) && preferred? <= valid).then_some((ip.into(), prefix, valid))
}

/// A number for some bytes (FNV-1a), never 0. Whoever makes two clients of one guest have the same is
/// that guest.
fn number(bytes: &[u8]) -> u32 {
    let hash = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(0x811c_9dc5, hash).max(1)
}

/// The addresses and prefixes in a client's message: those in its IAs (RFC 8415, 21.4 to 21.6, 21.21, 21.22). `None`:
/// it is cut off.
pub(crate) fn each_lease6(message: &[u8], each: &mut dyn FnMut(u128, u8)) -> Option<()> {
    let mut whole = true;
    each_option(message.get(4..)?, &mut |code, ia| {
        let inner = match code {
            3 | 25 => ia.get(12..),
            4 => ia.get(4..),
            _ => return,
        };
        let leases = each_option(inner.unwrap_or(&[0]), &mut |code, value| {
            let lease = match code {
                5 => be128(value, 0).map(|ip| (ip, 128)),
                26 => be128(value, 9).map(|ip| (ip, value.get(8).copied().unwrap_or(0))),
                _ => return,
            };
            match lease {
                Some((ip, prefix)) => each(ip, prefix),
                None => whole = false,
            }
        });
        whole &= leases.is_some();
    })?;
    whole.then_some(())
}

/// `None` when an option is cut off.
fn each_option(mut options: &[u8], each: &mut dyn FnMut(u16, &[u8])) -> Option<()> {
    while !options.is_empty() {
        let (code, len) = (be16(options, 0)?, usize::from(be16(options, 2)?));
        each(code, options.get(4..4 + len)?);
        options = &options[4 + len..];
    }
    Some(())
}
