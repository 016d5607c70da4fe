//! Addresses of sockets as the kernel writes them, bytes and all.

use socket2::SockAddr;
use std::ffi::OsStr;
use std::mem::offset_of;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// An address as the kernel writes it.
#[must_use]
pub fn raw(address: &SockAddr) -> &[u8] {
    // SAFETY: a SockAddr has `len` bytes that are initialised.
    unsafe { std::slice::from_raw_parts(address.as_ptr().cast(), address.len() as usize) }
}

/// The path in a unix socket's address.
#[must_use]
pub fn path(raw: &[u8]) -> Option<&Path> {
    let (family, name) = raw.split_at_checked(offset_of!(libc::sockaddr_un, sun_path))?;
    if family != (libc::AF_UNIX as libc::sa_family_t).to_ne_bytes() {
        return None;
    }
    let name = name.split(|&b| b == 0).next().unwrap_or_default();
    (!name.is_empty()).then(|| Path::new(OsStr::from_bytes(name)))
}

/// The address that the kernel wrote, if there is something to send to.
#[must_use]
pub fn address_of(raw: &[u8]) -> Option<SockAddr> {
    if raw.len() <= size_of::<libc::sa_family_t>() {
        return None;
    }
    let mut storage = socket2::SockAddrStorage::zeroed();
    let len = raw.len().min(size_of::<socket2::SockAddrStorage>());
    // SAFETY: storage has room for `len` bytes, `raw` has that many, and any bytes are a valid one.
    unsafe {
        std::ptr::copy_nonoverlapping(raw.as_ptr(), (&raw mut storage).cast::<u8>(), len);
        Some(SockAddr::new(storage, len as libc::socklen_t))
    }
}

/// An address for a log line.
#[must_use]
pub fn shown(from: &[u8]) -> String {
    let Some(address) = address_of(from) else { return "a socket without an address".into() };
    if let Some(inet) = address.as_socket() {
        return inet.to_string();
    }
    match path(from) {
        Some(path) => path.display().to_string(),
        None => match address.as_abstract_namespace() {
            Some(name) => format!("@{}", String::from_utf8_lossy(name)),
            None => "a socket without an address".into(),
        },
    }
}
