//! What happens to a network interface, as the kernel tells it (rtnetlink, RFC 3549).
//!
//! A door that sits on an interface learns here that it went down or up, was renamed, got another
//! MTU or address, and that it is gone: deleted, or moved to another namespace, which looks the same
//! from the one that it left.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// How an interface is, or was when it went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    pub index: i32,
    pub name: String,
    pub mtu: u32,
    pub mac: [u8; 6],
    /// It is up and has a carrier.
    pub running: bool,
    /// It is no more.
    pub gone: bool,
}

/// A netlink socket that hears of all interfaces of its namespace.
#[derive(Debug)]
pub struct Links(OwnedFd);

const HEADER: usize = size_of::<libc::nlmsghdr>();
const INFO: usize = size_of::<libc::ifinfomsg>();
/// Enough for any message about an interface.
const ROOM: usize = 64 << 10;

/// What was heard.
#[derive(Debug, Default)]
pub struct News {
    pub links: Vec<Link>,
    /// There was more than the socket could hold: ask again.
    pub lost: bool,
}

impl Links {
    /// By a netlink socket (NETLINK_ROUTE) of the interface's namespace.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        // SAFETY: all-zero is a valid sockaddr_nl.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        address.nl_groups = libc::RTMGRP_LINK as u32;
        // SAFETY: the address lives through the call and its size is given; fcntl takes no pointer.
        let ret = unsafe {
            libc::fcntl(socket.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK);
            libc::bind(
                socket.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_nl>() as libc::socklen_t,
            )
        };
        if ret == 0 { Ok(Links(socket)) } else { Err(io::Error::last_os_error()) }
    }

    /// Ask about the interface of a number, or, where that is 0, of a name. The answer is the next news of it;
    /// there is none where there is no such interface.
    pub fn ask(&self, index: i32, name: &str) -> io::Result<()> {
        let padded = (name.len() + 1).next_multiple_of(4);
        let mut message = Vec::with_capacity(HEADER + INFO + 4 + padded);
        let length = HEADER + INFO + 4 + padded;
        message.extend((length as u32).to_ne_bytes());
        message.extend(libc::RTM_GETLINK.to_ne_bytes());
        message.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
        message.extend([0; 8 + 4]);
        message.extend(index.to_ne_bytes());
        message.extend([0; INFO - 8]);
        message.extend((4 + name.len() as u16 + 1).to_ne_bytes());
        message.extend(libc::IFLA_IFNAME.to_ne_bytes());
        message.extend(name.as_bytes());
        message.resize(length, 0);
        // SAFETY: the message lives through the call, which only reads it.
        let n = unsafe { libc::send(self.0.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
        if n < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// All news there are, in order. Never waits.
    pub fn news(&self) -> News {
        let mut news = News::default();
        let mut room = vec![0; ROOM];
        loop {
            // SAFETY: `room` is writable for its length.
            let n = unsafe {
                libc::recv(self.0.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), libc::MSG_DONTWAIT)
            };
            let Ok(n) = usize::try_from(n) else {
                let error = io::Error::last_os_error();
                match error.raw_os_error() {
                    Some(libc::ENOBUFS) => news.lost = true,
                    Some(libc::EINTR) => {}
                    _ => return news,
                }
                continue;
            };
            parse(&room[..n.min(ROOM)], &mut news.links);
        }
    }
}

impl AsFd for Links {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

/// The messages of one datagram.
fn parse(mut bytes: &[u8], links: &mut Vec<Link>) {
    while let (Some(length), Some(kind)) = (word(bytes, 0), half(bytes, 4)) {
        let length = length as usize;
        if length < HEADER || length > bytes.len() {
            return;
        }
        let gone = kind == libc::RTM_DELLINK;
        if gone || kind == libc::RTM_NEWLINK {
            links.extend(link(&bytes[HEADER..length], gone));
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
}

/// One ifinfomsg and its attributes. Those of a bridge's port (family AF_BRIDGE) are about the bridge.
fn link(bytes: &[u8], gone: bool) -> Option<Link> {
    let (family, index, flags) = (*bytes.first()?, word(bytes, 4)?, word(bytes, 8)?);
    if i32::from(family) != libc::AF_UNSPEC {
        return None;
    }
    let up = (libc::IFF_UP | libc::IFF_RUNNING) as u32;
    let mut link = Link { index: index as i32, running: flags & up == up, gone, ..Link::default() };
    let mut attributes = bytes.get(INFO..)?;
    while let (Some(length), Some(kind)) = (half(attributes, 0), half(attributes, 2)) {
        let value = attributes.get(4..usize::from(length))?;
        match kind {
            libc::IFLA_IFNAME => {
                let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
                link.name = String::from_utf8_lossy(&value[..end]).into_owned();
            }
            libc::IFLA_MTU => link.mtu = word(value, 0)?,
            libc::IFLA_ADDRESS => {
                link.mac = value.get(..6).and_then(|mac| mac.try_into().ok()).unwrap_or_default()
            }
            _ => {}
        }
        attributes = attributes.get(usize::from(length).next_multiple_of(4)..).unwrap_or(&[]);
    }
    Some(link)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::fd::FromRawFd;

    fn message(kind: u16, family: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![family, 0, 1, 0];
        body.extend(7_u32.to_ne_bytes());
        body.extend((libc::IFF_UP as u32).to_ne_bytes());
        body.extend([0; 4]);
        for (kind, value) in attributes {
            body.extend((4 + value.len() as u16).to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend([0; 10]);
        message.extend(body);
        message
    }

    #[test]
    fn messages_are_read_in_order() {
        let mtu = 9000_u32.to_ne_bytes();
        let attributes: &[(u16, &[u8])] = &[
            (libc::IFLA_IFNAME, b"eth0\0"),
            (libc::IFLA_MTU, &mtu),
            (libc::IFLA_ADDRESS, &[2, 0, 0, 0, 0, 1]),
        ];
        let bytes = [
            message(libc::RTM_NEWLINK, 0, attributes),
            message(libc::RTM_NEWLINK, libc::AF_BRIDGE as u8, attributes),
            message(libc::RTM_DELLINK, 0, attributes),
        ];
        let mut links = Vec::new();
        parse(&bytes.concat(), &mut links);
        let up =
            Link { index: 7, name: "eth0".into(), mtu: 9000, mac: [2, 0, 0, 0, 0, 1], ..Link::default() };
        assert_eq!(links, [up.clone(), Link { gone: true, ..up }]);
    }

    #[test]
    fn an_interface_is_asked_for_by_number_or_name() {
        // SAFETY: socket takes no pointer; a descriptor that it returns is ours.
        let socket = unsafe {
            let fd = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE);
            assert!(fd >= 0);
            OwnedFd::from_raw_fd(fd)
        };
        let links = Links::new(socket).unwrap();
        // By number whatever its name was: it may have another one now.
        for (index, name) in [(0, "lo"), (1, "old"), (0, "nothere0"), (i32::MAX, "lo")] {
            links.ask(index, name).unwrap();
            let told = links.news().links.iter().any(|link| (link.index, &link.name[..]) == (1, "lo"));
            assert_eq!(told, index == 1 || name == "lo" && index == 0, "{index} {name}");
        }
    }

    #[test]
    fn nonsense_ends_quietly() {
        let good = message(libc::RTM_NEWLINK, 0, &[(libc::IFLA_IFNAME, b"eth0\0")]);
        for cut in 0..good.len() {
            parse(&good[..cut], &mut Vec::new());
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] = 0xff;
            parse(&bad, &mut Vec::new());
        }
    }
}
