//! Where a socket is: `/a/path`, `@abstract-name`, `127.0.0.1:5000` or `[::1]:5000`.

use crate::error::OpenError;
use socket2::{Domain, SockAddr};
use std::ffi::OsStr;
use std::fmt;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The longest path a unix socket can have (`sun_path` holds 108 bytes, the last one NUL).
pub const PATH_MAX: usize = 107;

/// The address of a socket, as it stands in a topology file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A unix socket in the file system.
    Path(PathBuf),
    /// A unix socket in the abstract namespace of the network namespace; no file, no permissions.
    Abstract(Vec<u8>),
    /// TCP or UDP.
    Inet(SocketAddr),
}

const FORMS: &str = "expected a path, @name, 127.0.0.1:5000 or [::1]:5000";

impl Endpoint {
    /// What `text` means. A text with a slash is a path and one that starts with `@` is abstract;
    /// one that ends in a colon and digits is an internet address; anything else is a path.
    pub fn parse(text: &str) -> Result<Self, OpenError> {
        let bytes = text.as_bytes();
        if bytes.is_empty() {
            return Err(OpenError::new("an empty socket address", FORMS));
        }
        if bytes.contains(&0) {
            return Err(OpenError::new(format!("the socket address {text:?} holds a NUL byte"), FORMS));
        }
        if let Some(name) = text.strip_prefix('@') {
            if name.is_empty() {
                return Err(OpenError::new("the abstract socket address '@' has no name", FORMS));
            }
            return check_length(text, name.len()).map(|()| Endpoint::Abstract(name.into()));
        }
        if let Some((host, port)) = text.rsplit_once(':')
            && !text.contains('/')
            && !port.is_empty()
            && port.bytes().all(|b| b.is_ascii_digit())
        {
            return inet(text, host, port).map(Endpoint::Inet);
        }
        check_length(text, bytes.len())?;
        Ok(Endpoint::Path(Path::new(OsStr::from_bytes(bytes)).into()))
    }

    /// In the kernel's form.
    pub fn address(&self) -> Result<SockAddr, OpenError> {
        let made = match self {
            Endpoint::Inet(address) => return Ok((*address).into()),
            Endpoint::Path(path) => SockAddr::unix(path),
            Endpoint::Abstract(name) => {
                let mut path = vec![0];
                path.extend(name);
                SockAddr::unix(OsStr::from_bytes(&path))
            }
        };
        made.map_err(|e| OpenError::new(format!("{self} can't be a socket's address"), e.to_string()))
    }

    #[must_use]
    pub fn domain(&self) -> Domain {
        match self {
            Endpoint::Inet(address) => Domain::for_address(*address),
            _ => Domain::UNIX,
        }
    }

    #[must_use]
    pub fn is_unix(&self) -> bool {
        !matches!(self, Endpoint::Inet(_))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Path(path) => write!(f, "{}", path.display()),
            Endpoint::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
            Endpoint::Inet(address) => write!(f, "{address}"),
        }
    }
}

fn check_length(text: &str, len: usize) -> Result<(), OpenError> {
    if len <= PATH_MAX {
        return Ok(());
    }
    Err(OpenError::new(
        format!("the socket address {text} is {len} bytes long, and at most {PATH_MAX} are possible"),
        "choose a shorter name, or a shorter runtime folder (XDG_RUNTIME_DIR)",
    ))
}

fn inet(text: &str, host: &str, port: &str) -> Result<SocketAddr, OpenError> {
    let port = port
        .parse::<u16>()
        .map_err(|_| OpenError::new(format!("{text}: port {port} is not in 0..65535"), FORMS))?;
    if let Some(host) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        let (literal, zone) = host.split_once('%').unwrap_or((host, ""));
        if let Ok(ip) = literal.parse::<Ipv6Addr>() {
            return Ok(SocketAddrV6::new(ip, port, 0, zone_index(text, zone)?).into());
        }
    } else if let Ok(ip) = host.parse() {
        return Ok(SocketAddrV4::new(ip, port).into());
    }
    // Names are not resolved: that blocks, and what it gives can change while the door is open.
    Err(OpenError::new(
        format!("{text}: {host:?} is not an IPv4 address or an IPv6 address in brackets"),
        format!("{FORMS}; a path that looks like this needs a slash (./{text})"),
    ))
}

/// The number of the interface that a link-local address (`[fe80::1%eth0]`) belongs to.
fn zone_index(text: &str, zone: &str) -> Result<u32, OpenError> {
    if zone.is_empty() {
        return Ok(0);
    }
    if let Ok(index) = zone.parse() {
        return Ok(index);
    }
    std::ffi::CString::new(zone)
        .ok()
        // SAFETY: a NUL-terminated string that lives through the call.
        .map(|name| unsafe { libc::if_nametoindex(name.as_ptr()) })
        .filter(|&index| index != 0)
        .ok_or_else(|| {
            OpenError::new(format!("{text}: there is no interface {zone}"), "`ip link` lists those there are")
        })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood_and_told_as_it_was_written() {
        for text in ["/run/vm1.sock", "vm1.sock", "@vm1", "127.0.0.1:5000", "[::1]:5000", "./a:1", "a:b"] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!(endpoint.to_string(), text);
            assert_eq!(endpoint.is_unix(), !text.ends_with("5000"));
            assert!(endpoint.address().is_ok());
        }
    }

    #[test]
    fn a_zone_is_an_interface() {
        let Endpoint::Inet(SocketAddr::V6(address)) = Endpoint::parse("[fe80::1%lo]:1").unwrap() else {
            panic!("not IPv6")
        };
        assert_eq!(address.scope_id(), 1);
        let error = Endpoint::parse("[fe80::1%nosuchif]:1").unwrap_err();
        assert_eq!(error.what, "[fe80::1%nosuchif]:1: there is no interface nosuchif");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, what) in [
            ("", "an empty socket address"),
            ("@", "the abstract socket address '@' has no name"),
            ("a\0b", "the socket address \"a\\0b\" holds a NUL byte"),
            ("1.2.3.4:70000", "1.2.3.4:70000: port 70000 is not in 0..65535"),
            (
                "localhost:1",
                "localhost:1: \"localhost\" is not an IPv4 address or an IPv6 address in brackets",
            ),
            ("::1:80", "::1:80: \"::1\" is not an IPv4 address or an IPv6 address in brackets"),
            (":80", ":80: \"\" is not an IPv4 address or an IPv6 address in brackets"),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap_err().what, what);
        }
    }

    #[test]
    fn the_longest_path_is_107_bytes() {
        for prefix in ["/", "@"] {
            let name = "x".repeat(PATH_MAX - usize::from(prefix == "/"));
            assert!(Endpoint::parse(&format!("{prefix}{name}")).unwrap().address().is_ok());
            let error = Endpoint::parse(&format!("{prefix}{name}x")).unwrap_err();
            assert!(error.what.ends_with("is 108 bytes long, and at most 107 are possible"), "{error}");
        }
    }
}
