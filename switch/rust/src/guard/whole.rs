//! What a guard must see the whole of a frame for: the messages of a guest's DHCP clients.
//!
//! Which message it is, and which address a client declines, stands behind what is seen of every frame. So
//! such a frame is admitted by its first bytes, and then weighed: who gives an address back, or says that it
//! can't be used, must have it. Servers know clients by identifiers of the clients' own choice, so another's
//! lease would be lost. It is weighed as a copy, which is then sent on: what was checked is what leaves.
//!
//! Nobody may read such a message differently. Options that stand twice, are cut off, or are in other fields
//! (RFC 2132, 9.3) are refused, and it must say the same with what follows the packet in its frame and without.
//! So what a server takes for a release takes the address from the guest, too (`snoop/`): both walk alike.

use super::{CIADDR, Drop, Frame, Guard, Memory};
use crate::headers::{self, Ip, Part, UDP, be16, be32, mac};
use crate::snoop::{GIVES_BACK6, each_lease6};
use crate::{Decision, Out, Switch};

/// RFC 2131, 3: in front of the options.
const COOKIE: u32 = 0x6382_5363;
const OPTIONS: usize = 240;
/// RFC 3046, 2.1: what a relay says about the client. With no relay's address in the message, servers may take it for
/// that of one close to the client, and give what this asks for.
const RELAY: u8 = 82;
const REQUEST: u8 = 3;
const DECLINE: u8 = 4;
const RELEASE: u8 = 7;

impl Switch {
    /// Whether the latest bursts had frames that have to be weighed: [`is_weighed`](Self::is_weighed) says which.
    #[inline]
    pub fn has_to_weigh(&mut self) -> bool {
        std::mem::take(&mut self.weighs)
    }

    /// Whether a frame that was decided so has to be given to [`weigh`](Self::weigh), by its first bytes.
    #[must_use]
    pub fn is_weighed(&self, decision: &Decision, head: &[u8]) -> bool {
        let guard = self.port(decision.ingress).and_then(|config| config.guard.as_ref());
        !matches!(decision.out, Out::Drop(_))
            && guard.is_some_and(|guard| !guard.roles.dhcp_server)
            && message(head, decision.tags).is_some()
    }

    /// All of such a frame, as it will be sent on; or `None`, where it is too long or is several. It may be
    /// dropped.
    pub fn weigh(&mut self, decision: &mut Decision, frame: Option<&[u8]>) {
        let ingress = decision.ingress;
        let Some(port) = self.ports.get_mut(usize::from(ingress)).and_then(Option::as_deref_mut) else {
            return;
        };
        let Some(guard) = &port.config.guard else { return };
        let weighed = match frame {
            Some(frame) => guard.admits_whole(&mut port.memory, decision, frame),
            None => Err(Drop::GuardDhcpClient),
        };
        if let Err(reason) = weighed {
            decision.out = Out::Drop(reason);
            port.counters.takes_back(reason);
        }
    }
}

impl Guard {
    fn admits_whole(&self, memory: &mut Memory, decision: &Decision, frame: &[u8]) -> Result<(), Drop> {
        let (Some(message), Some(src)) = (message(frame, decision.tags), mac(frame, 6)) else {
            return Err(Drop::GuardDhcpClient);
        };
        let mut frame = Frame { src, dst: 0, vlan: decision.vlan, guard: self, memory };
        match message {
            Message::V4(ip, message, within) => frame.weigh4(ip, message, within),
            Message::V6(message) => frame.weigh6(message),
        }
    }
}

/// What a guest says to a DHCP server.
enum Message<'a> {
    /// With its source: up to the end of the frame, and of the packet.
    V4(u32, &'a [u8], &'a [u8]),
    V6(&'a [u8]),
}

/// Whether it is a datagram for this port; of those in fragments a guard admits none that could be.
fn is_for<A>(ip: &Ip<'_, A>, port: u16) -> bool {
    ip.proto == UDP && ip.part == Part::Whole && be16(ip.upper, 2) == Some(port)
}

/// Whatever there is of it, so that none goes unweighed for being short.
fn message(frame: &[u8], tags: u8) -> Option<Message<'_>> {
    let at = 12 + 4 * usize::from(tags);
    let packet = frame.get(at + 2..)?;
    match be16(frame, at)? {
        0x0800 => {
            let ip = headers::ipv4(packet).ok().filter(|ip| is_for(ip, 67))?;
            let within = ip.upper.get(8..ip.len.min(ip.upper.len())).unwrap_or_default();
            Some(Message::V4(ip.src, ip.upper.get(8..).unwrap_or_default(), within))
        }
        0x86dd => {
            let ip = headers::ipv6(packet).ok().filter(|ip| is_for(ip, 547))?;
            Some(Message::V6(ip.upper.get(8..ip.len.min(ip.upper.len())).unwrap_or_default()))
        }
        _ => None,
    }
}

/// The options of a DHCPv4 message that say what it is about: its type, 0 for none, and the address that is requested.
/// `None`: they can be read in two ways, or are none of a client's.
fn words4(message: &[u8]) -> Option<(u8, Option<u32>)> {
    let (mut kind, mut requested, mut whole) = (0, None, false);
    let mut options = message.get(OPTIONS..).unwrap_or_default();
    loop {
        match options {
            [] | [255, ..] => {
                whole = true;
                break;
            }
            [0, rest @ ..] => options = rest,
            [code, len, rest @ ..] => {
                let Some((value, rest)) = rest.split_at_checked(usize::from(*len)) else { break };
                match (*code, value) {
                    (53, [value]) if kind == 0 && *value != 0 => kind = *value,
                    (50, [_, _, _, _]) if requested.is_none() => requested = be32(value, 0),
                    (50 | RELAY | 52 | 53, _) => return None,
                    _ => {}
                }
                options = rest;
            }
            [_] => break,
        }
    }
    // Before DHCP there was BOOTP (RFC 951), where anything may stand. That it has no type, everybody says.
    let dhcp = be32(message, OPTIONS - 4) == Some(COOKIE);
    (if dhcp { whole } else { kind == 0 }).then_some((kind, requested))
}

impl Frame<'_> {
    fn weigh4(&mut self, src: u32, message: &[u8], within: &[u8]) -> Result<(), Drop> {
        let words = words4(message).filter(|words| words4(within) == Some(*words));
        let (kind, requested) = words.ok_or(Drop::GuardDhcpClient)?;
        let has = be32(message, CIADDR).unwrap_or(0);
        let given = match kind {
            RELEASE => [Some(has), requested.filter(|ip| *ip != 0)],
            DECLINE => [Some(requested.unwrap_or(0)), Some(has).filter(|ip| *ip != 0)],
            _ => [None; 2],
        };
        if given.into_iter().flatten().any(|ip| ip == 0 || !self.has4(ip)) {
            return Err(Drop::GuardDhcpClient);
        }
        // One whose address nobody knows yet asks for more time, and that is all it does.
        if kind == REQUEST || src == 0 || self.has4(src) { Ok(()) } else { Err(Drop::GuardIp4) }
    }

    fn weigh6(&mut self, message: &[u8]) -> Result<(), Drop> {
        if !message.first().is_some_and(|kind| GIVES_BACK6.contains(kind)) {
            return Ok(());
        }
        let mut own = true;
        each_lease6(message, &mut |ip, prefix| own &= self.has_all6(ip, prefix))
            .ok_or(Drop::GuardDhcpClient)?;
        if own { Ok(()) } else { Err(Drop::GuardDhcpClient) }
    }
}
