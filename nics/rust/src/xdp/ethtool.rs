//! What an interface's driver says of itself (ethtool, by ioctl).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const DRIVER: u32 = 0x3;
const FLAGS: u32 = 0x25;
const CHANNELS: u32 = 0x3c;
const RXVLAN: u32 = 1 << 8;

/// See the top of this file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Driver {
    pub name: String,
    /// There is a device behind it, where frames come from as they were on the wire.
    pub is_hardware: bool,
    /// VLAN tags stay in the frames that come in.
    pub tags_stay: bool,
    /// Queues that frames come in by.
    pub queues: u32,
}

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct About {
    command: u32,
    driver: [u8; 32],
    version: [u8; 32],
    firmware: [u8; 32],
    bus: [u8; 32],
    rest: [u8; 64],
}

/// Ask about an interface of this thread's namespace. What it does not answer is taken as the worst.
pub(super) fn ask(interface: &str) -> io::Result<Driver> {
    // SAFETY: socket takes no pointer; a descriptor that it returns is ours.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    let mut about = About {
        command: DRIVER,
        driver: [0; 32],
        version: [0; 32],
        firmware: [0; 32],
        bus: [0; 32],
        rest: [0; 64],
    };
    let mut driver = Driver { queues: 1, ..Driver::default() };
    if call(&socket, interface, &mut about).is_ok() {
        driver.name = text(&about.driver);
        // What has no parent says nothing, or its own kind.
        driver.is_hardware = !["", "N/A", "tun", "tap"].contains(&text(&about.bus).as_str());
    }
    let mut flags = [FLAGS, RXVLAN];
    driver.tags_stay = call(&socket, interface, &mut flags).is_ok() && flags[1] & RXVLAN == 0;
    // max_rx, max_tx, max_other, max_combined, then the same four as they are.
    let mut channels = [CHANNELS, 0, 0, 0, 0, 0, 0, 0, 0];
    if call(&socket, interface, &mut channels).is_ok() {
        driver.queues = channels[5].saturating_add(channels[8]).max(1);
    }
    Ok(driver)
}

fn text(bytes: &[u8; 32]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// `T` is the structure of the command in its first word.
fn call<T>(socket: &OwnedFd, interface: &str, about: &mut T) -> io::Result<()> {
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = std::ptr::from_mut(about).cast();
    // SAFETY: the request and what it points to live through the call, and have the size that goes with
    // the command.
    let ret = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_no_hardware() {
        let lo = ask("lo").unwrap();
        assert!(!lo.is_hardware && lo.queues == 1);
    }

    #[test]
    fn of_what_is_not_there_the_worst_is_thought() {
        assert_eq!(ask("nothing-here0").unwrap(), Driver { queues: 1, ..Driver::default() });
        assert!(ask("a name that is too long").is_ok_and(|driver| !driver.tags_stay));
    }
}
