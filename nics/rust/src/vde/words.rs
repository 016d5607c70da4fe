//! What is said on the control connection of a VDE switch: one request, and one answer.
//!
//! A plug says which socket of its own takes frames, in one of two forms, all numbers in the machine's
//! order and without gaps:
//!
//! * version 3: magic (32 bits), version (32), type (32), `sockaddr_un` (110 bytes), and a description
//!   that ends where the message does;
//! * version 1: magic (32), type (32), a MAC address (6 bytes), `sockaddr_un`, and a description.
//!
//! The type's low byte is 0 for a port, or 1 for one whose number does not matter to the switch's
//! limits; above it stands the number of the port that is wanted. The switch answers with the
//! `sockaddr_un` of the socket that takes frames on its side.

use crate::socket::names;
use socket2::SockAddr;
use std::ffi::OsStr;
use std::fmt;
use std::mem::offset_of;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The most bytes that are ever looked at: as many as a VDE switch reads.
pub const MOST: usize = 256;

const MAGIC: u32 = 0xfeed_face;
const ADDRESS: usize = size_of::<libc::sockaddr_un>();
const PATH: usize = offset_of!(libc::sockaddr_un, sun_path);
const V1: usize = 4 + 4 + 6 + ADDRESS;
const V3: usize = 4 + 4 + 4 + ADDRESS;

/// A socket's name, as it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    Path(PathBuf),
    /// All of `sun_path`, zeros at its end included: so Bochs binds it, and so it is looked for.
    Abstract(Vec<u8>),
}

impl Name {
    /// What a `sockaddr_un` of full length names.
    fn read(bytes: &[u8]) -> Result<Name, String> {
        let (family, path) = bytes.split_at_checked(PATH).unwrap_or_default();
        if family != (libc::AF_UNIX as libc::sa_family_t).to_ne_bytes() {
            return Err("it names a socket that is no unix socket".into());
        }
        if path.first().is_none_or(|&first| first == 0) {
            return Ok(Name::Abstract(path.to_vec()));
        }
        // It may fill all there is, and have no terminator.
        let path = path.split(|&b| b == 0).next().unwrap_or_default();
        Ok(Name::Path(Path::new(OsStr::from_bytes(path)).into()))
    }

    /// As a `sockaddr_un` of full length.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = (libc::AF_UNIX as libc::sa_family_t).to_ne_bytes().to_vec();
        bytes.extend(match self {
            Name::Path(path) => path.as_os_str().as_bytes(),
            Name::Abstract(name) => name,
        });
        bytes.resize(ADDRESS, 0);
        bytes
    }

    /// In the kernel's form, of full length.
    pub fn address(&self) -> Option<SockAddr> {
        names::address_of(&self.bytes())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Path(path) => write!(f, "{:?}", path.display().to_string()),
            Name::Abstract(name) => {
                let name = name.get(1..).unwrap_or_default();
                let name = name.split(|&b| b == 0).next().unwrap_or_default();
                write!(f, "{:?}", format!("@{}", String::from_utf8_lossy(name)))
            }
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_ne_bytes(*four))
}

/// Which socket a plug asks frames for; None: more must be read to know.
pub fn read_request(bytes: &[u8]) -> Result<Option<Name>, String> {
    match number(bytes, 0) {
        None => return Ok(None),
        Some(MAGIC) => {}
        Some(_) => return Err("what it says is no VDE request".into()),
    }
    let Some(second) = number(bytes, 4) else { return Ok(None) };
    // Version 1 has its type where others have their version.
    let (kind, length) = match second {
        3 => match number(bytes, 8) {
            Some(kind) => (kind, V3),
            None => return Ok(None),
        },
        0 | 1 => (second, V1),
        other => return Err(format!("it speaks version {other} of the protocol, 1 and 3 are known")),
    };
    if kind & 0xff > 1 {
        return Err(format!("its request is of type {}, 0 and 1 are known", kind & 0xff));
    }
    bytes.get(length - ADDRESS..length).map(Name::read).transpose()
}

/// Which socket the switch takes frames with; None: more must be read to know.
pub fn read_answer(bytes: &[u8]) -> Result<Option<Name>, String> {
    bytes.get(..ADDRESS).map(Name::read).transpose()
}

/// Ask for a port, by its number or any (0), whose frames come to our socket `ours`.
pub fn request(ours: &Name, port: u32, description: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> = [MAGIC, 3, port << 8].into_iter().flat_map(u32::to_ne_bytes).collect();
    bytes.extend(ours.bytes());
    bytes.extend(description.bytes().take(MOST - V3));
    bytes
}

/// Tell a plug that frames go to our socket `ours`.
pub fn answer(ours: &Name) -> Vec<u8> {
    ours.bytes()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn path(text: &str) -> Name {
        Name::Path(text.into())
    }

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let ours = path("/run/vde/.00012-00000");
        let said = request(&ours, 5, "vnet");
        assert_eq!(said.len(), 122 + 4);
        assert_eq!(read_request(&said), Ok(Some(ours)));
        // Nothing is missed when it comes in pieces, and the description is not waited for.
        for n in 0..122 {
            assert_eq!(read_request(&said[..n]), Ok(None), "{n} bytes");
        }
        assert!(read_request(&said[..122]).unwrap().is_some());
    }

    #[test]
    fn the_oldest_form_is_known_too() {
        let ours = path("/tmp/plug");
        let mut said = [MAGIC, 0].into_iter().flat_map(u32::to_ne_bytes).collect::<Vec<_>>();
        said.extend([2, 0, 0, 0, 0, 1]);
        said.extend(ours.bytes());
        assert_eq!(read_request(&said), Ok(Some(ours)));
        assert_eq!(read_request(&said[..said.len() - 1]), Ok(None));
    }

    #[test]
    fn what_is_no_request_is_told_as_soon_as_that_is_known() {
        assert!(read_request(&[0; 4]).unwrap_err().contains("no VDE request"));
        let two = [MAGIC, 2].into_iter().flat_map(u32::to_ne_bytes).collect::<Vec<_>>();
        assert!(read_request(&two).unwrap_err().contains("version 2"));
        let seven = [MAGIC, 3, 7].into_iter().flat_map(u32::to_ne_bytes).collect::<Vec<_>>();
        assert!(read_request(&seven).unwrap_err().contains("type 7"));
        let mut inet = request(&path("/a"), 0, "");
        inet[12] = libc::AF_INET as u8;
        assert!(read_request(&inet).unwrap_err().contains("no unix socket"));
    }

    #[test]
    fn names_may_fill_all_there_is_and_may_be_abstract() {
        let longest = path(&format!("/{}", "x".repeat(107)));
        assert_eq!(read_answer(&answer(&longest)), Ok(Some(longest.clone())));
        assert_eq!(longest.address().unwrap().len(), 110);
        let mut bochs = vec![0];
        bochs.extend(b" 4711");
        bochs.resize(108, 0);
        let bochs = Name::Abstract(bochs);
        assert_eq!(read_answer(&answer(&bochs)), Ok(Some(bochs.clone())));
        assert_eq!(bochs.address().unwrap().len(), 110);
        assert_eq!(bochs.to_string(), "\"@ 4711\"");
        assert_eq!(read_answer(&[1, 0]), Ok(None));
    }
}
