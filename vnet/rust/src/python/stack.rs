//! In-process TCP/IP guests for Python.

use super::door::Door;
use nics::stack::{KeepAlive, Net, SocketId, StackConfig, StackEnd, StackError, UdpSettings, stack};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::net::{IpAddr, SocketAddr};

/// What is sent at once and is longer than that is copied without the interpreter lock.
const LONG: usize = 16 << 10;

/// An address and a port.
type Name = (String, u16);

fn error(e: StackError) -> PyErr {
    PyOSError::new_err((e.errno(), e.to_string()))
}

/// What is done now, or None when an event will tell when to try again.
fn now<T>(result: Result<T, StackError>) -> PyResult<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(StackError::WouldBlock) => Ok(None),
        Err(e) => Err(error(e)),
    }
}

fn address(text: &str) -> PyResult<IpAddr> {
    // The scope of a link-local address can only be this guest's one link.
    let text = text.split_once('%').map_or(text, |(address, _)| address);
    text.parse().map_err(|_| PyValueError::new_err(format!("{text:?} is not an IP address")))
}

fn maybe(text: Option<&str>) -> PyResult<Option<IpAddr>> {
    text.map(address).transpose()
}

/// Whether it shares its port, hop limits to one and to a group, and whether groups are looped back.
fn udp_settings((shared, hops, group_hops, group_loop): (bool, u8, u8, bool)) -> UdpSettings {
    UdpSettings { shared, hops, group_hops, group_loop }
}

fn name(at: SocketAddr) -> Name {
    (at.ip().to_string(), at.port())
}

/// The far end of an in-process guest: its sockets. Nothing here blocks: what can't be done now
/// gives None, and a `socket` event of the port tells when to try again. Errors are OSErrors.
#[pyclass(frozen)]
pub struct StackHandle(pub(super) StackEnd);

#[pymethods]
impl StackHandle {
    /// Begin to connect; the new socket's number.
    #[pyo3(signature = (host, port, local_host=None, local_port=0))]
    fn tcp_connect(
        &self,
        host: &str,
        port: u16,
        local_host: Option<&str>,
        local_port: u16,
    ) -> PyResult<SocketId> {
        let to = SocketAddr::new(address(host)?, port);
        self.0.tcp_connect(to, maybe(local_host)?, local_port).map_err(error)
    }

    /// Whether an attempt to connect has succeeded; raises if it failed.
    fn tcp_connected(&self, socket: SocketId) -> PyResult<bool> {
        Ok(now(self.0.tcp_connected(socket))?.is_some())
    }

    /// Listen; the listener's number.
    fn tcp_listen(&self, host: Option<&str>, port: u16, backlog: usize) -> PyResult<SocketId> {
        self.0.tcp_listen(maybe(host)?, port, backlog).map_err(error)
    }

    /// Take a port without listening there yet.
    fn tcp_bind(&self, host: Option<&str>, port: u16) -> PyResult<SocketId> {
        self.0.tcp_bind(maybe(host)?, port).map_err(error)
    }

    /// Listen at a port that was taken.
    fn tcp_listen_at(&self, socket: SocketId, backlog: usize) -> PyResult<()> {
        self.0.tcp_listen_at(socket, backlog).map_err(error)
    }

    /// The hop limit of a connection's packets.
    fn tcp_hops(&self, socket: SocketId, hops: u8) -> PyResult<()> {
        self.0.tcp_hops(socket, hops).map_err(error)
    }

    /// Ask a silent peer whether it is there: after `idle` seconds, then every `interval`, `count` times.
    #[pyo3(signature = (socket, keep))]
    fn tcp_keep_alive(&self, socket: SocketId, keep: Option<(u32, u32, u32)>) -> PyResult<()> {
        let nanos = |seconds: u32| u64::from(seconds.max(1)) * 1_000_000_000;
        let keep = keep.map(|(idle, interval, count)| KeepAlive {
            idle: nanos(idle),
            interval: nanos(interval),
            count: count.max(1),
        });
        self.0.tcp_keep_alive(socket, keep).map_err(error)
    }

    /// Whether a socket can be read from, or accept, now; if not, an event will tell when.
    fn readable(&self, socket: SocketId) -> PyResult<bool> {
        self.0.readable(socket).map_err(error)
    }

    /// The next connection's number.
    fn tcp_accept(&self, listener: SocketId) -> PyResult<Option<SocketId>> {
        now(self.0.tcp_accept(listener))
    }

    /// Take over `data[start:]` as far as there is room; how many bytes.
    fn tcp_send(
        &self,
        py: Python<'_>,
        socket: SocketId,
        data: &[u8],
        start: usize,
    ) -> PyResult<Option<usize>> {
        let data = data.get(start..).unwrap_or_default();
        if data.len() < LONG {
            return now(self.0.tcp_send(socket, data));
        }
        now(py.detach(|| self.0.tcp_send(socket, data)))
    }

    /// Up to `most` bytes; b"" at the end of the stream.
    fn tcp_recv<'py>(
        &self,
        py: Python<'py>,
        socket: SocketId,
        most: usize,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        // One copy, out of the connection's buffer. Making room without the interpreter lock first
        // would mean to clear it first, which costs as much.
        now(self.0.tcp_recv_with(socket, most, |piece| PyBytes::new(py, piece)))
    }

    /// Close the sending half.
    fn tcp_shutdown(&self, socket: SocketId) -> PyResult<()> {
        self.0.tcp_shutdown(socket).map_err(error)
    }

    /// End a connection by a reset, and give back the number.
    fn tcp_abort(&self, socket: SocketId) -> PyResult<()> {
        self.0.tcp_abort(socket).map_err(error)
    }

    /// A connection's state as in RFC 9293, "ESTABLISHED".
    fn tcp_state(&self, socket: SocketId) -> PyResult<String> {
        self.0.tcp_state(socket).map_err(error)
    }

    /// Bind a UDP socket; its number.
    fn udp_bind(&self, host: Option<&str>, port: u16) -> PyResult<SocketId> {
        self.0.udp_bind(maybe(host)?, port).map_err(error)
    }

    /// Bind a UDP socket with settings of its own.
    #[pyo3(signature = (host, port, settings))]
    fn udp_open(&self, host: Option<&str>, port: u16, settings: (bool, u8, u8, bool)) -> PyResult<SocketId> {
        self.0.udp_open(maybe(host)?, port, udp_settings(settings)).map_err(error)
    }

    /// Change them.
    fn udp_set(&self, socket: SocketId, settings: (bool, u8, u8, bool)) -> PyResult<()> {
        self.0.udp_set(socket, udp_settings(settings)).map_err(error)
    }

    /// Talk with one peer alone, or with all again.
    #[pyo3(signature = (socket, peer))]
    fn udp_connect(&self, socket: SocketId, peer: Option<(&str, u16)>) -> PyResult<()> {
        let peer = peer.map(|(host, port)| address(host).map(|ip| SocketAddr::new(ip, port))).transpose()?;
        self.0.udp_connect(socket, peer).map_err(error)
    }

    /// Send one datagram; False when there is no room now.
    fn udp_send(&self, socket: SocketId, data: &[u8], host: &str, port: u16) -> PyResult<bool> {
        let to = SocketAddr::new(address(host)?, port);
        Ok(now(self.0.udp_send(socket, data, to))?.is_some())
    }

    /// The next datagram: its bytes, who sent it, and the address it was sent to.
    #[allow(clippy::type_complexity)]
    fn udp_recv<'py>(
        &self,
        py: Python<'py>,
        socket: SocketId,
    ) -> PyResult<Option<(Bound<'py, PyBytes>, Name, String)>> {
        let datagram = now(self.0.udp_recv(socket))?;
        Ok(datagram.map(|(from, to, data)| (PyBytes::new(py, &data), name(from), to.to_string())))
    }

    /// Join a multicast group.
    fn udp_join(&self, socket: SocketId, group: &str) -> PyResult<()> {
        self.0.udp_join(socket, address(group)?).map_err(error)
    }

    /// Leave it.
    fn udp_leave(&self, socket: SocketId, group: &str) -> PyResult<()> {
        self.0.udp_leave(socket, address(group)?).map_err(error)
    }

    /// Datagrams that were lost because nobody received them in time.
    fn udp_lost(&self, socket: SocketId) -> PyResult<u64> {
        self.0.udp_lost(socket).map_err(error)
    }

    /// Open a socket for whole frames of one EtherType (None: of all); its number.
    #[pyo3(signature = (ethertype=None))]
    fn raw_open(&self, ethertype: Option<u16>) -> PyResult<SocketId> {
        self.0.raw_open(ethertype).map_err(error)
    }

    /// Send one frame; False when there is no room now.
    fn raw_send(&self, socket: SocketId, frame: &[u8]) -> PyResult<bool> {
        Ok(now(self.0.raw_send(socket, frame))?.is_some())
    }

    /// The next frame.
    fn raw_recv<'py>(&self, py: Python<'py>, socket: SocketId) -> PyResult<Option<Bound<'py, PyBytes>>> {
        Ok(now(self.0.raw_recv(socket))?.map(|frame| PyBytes::new(py, &frame)))
    }

    /// Frames that were lost because nobody received them in time.
    fn raw_lost(&self, socket: SocketId) -> PyResult<u64> {
        self.0.raw_lost(socket).map_err(error)
    }

    /// Prepare to ping; the new socket's number.
    fn ping_open(&self, host: &str, hop_limit: u8) -> PyResult<SocketId> {
        self.0.ping_open(address(host)?, hop_limit).map_err(error)
    }

    /// Send echo request number `seq` with `size` bytes of data.
    fn ping_send(&self, socket: SocketId, seq: u16, size: usize) -> PyResult<()> {
        self.0.ping_send(socket, seq, size).map_err(error)
    }

    /// The next answer: its number, and the nanoseconds it took; -errno if there will be none.
    fn ping_recv(&self, socket: SocketId) -> PyResult<Option<(u16, i64)>> {
        let answer = now(self.0.ping_recv(socket))?;
        Ok(answer.map(|(seq, result)| (seq, result.map_or_else(|e| -i64::from(e.errno()), |t| t as i64))))
    }

    /// A socket's own address ("::": all) and port, and its peer's.
    fn names(&self, socket: SocketId) -> PyResult<(Name, Option<Name>)> {
        let (local, remote) = self.0.names(socket).map_err(error)?;
        Ok((name(local), remote.map(name)))
    }

    /// Give back a socket's number.
    fn close(&self, socket: SocketId) -> PyResult<()> {
        self.0.close(socket).map_err(error)
    }

    /// All addresses with prefix length, "10.0.0.1/24".
    fn addresses(&self) -> PyResult<Vec<String>> {
        let nets = self.0.nets().map_err(error)?;
        Ok(nets.into_iter().map(|(address, prefix)| format!("{address}/{prefix}")).collect())
    }

    /// The neighbours known: IP address and MAC address.
    fn neighbours(&self) -> PyResult<Vec<(String, String)>> {
        let known = self.0.known_neighbours().map_err(error)?;
        let text = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
        Ok(known.into_iter().map(|(address, mac)| (address.to_string(), text(mac))).collect())
    }

    /// How many sockets there are, those that only finish what they began included.
    fn socket_count(&self) -> PyResult<usize> {
        self.0.socket_count().map_err(error)
    }
}

/// Open an in-process guest. `addresses` have their prefix length ("10.0.0.1/24"); buffers, per
/// connection and direction, and `inbox` are in bytes. ValueError says what can't be.
#[pyfunction]
#[pyo3(signature = (mac, addresses, gateways, mtu, seed, *, receive_buffer=262_144, send_buffer=262_144,
    gso=true, sockets=4096, inbox=1_048_576))]
#[allow(clippy::too_many_arguments)]
pub fn stack_door(
    mac: &str,
    addresses: Vec<String>,
    gateways: Vec<String>,
    mtu: u32,
    seed: u64,
    receive_buffer: u32,
    send_buffer: u32,
    gso: bool,
    sockets: usize,
    inbox: usize,
) -> PyResult<(Door, StackHandle)> {
    let bad = |what: String| PyValueError::new_err(what);
    let bytes: Option<Vec<u8>> = mac.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    let octets = bytes.and_then(|bytes| <[u8; 6]>::try_from(bytes).ok());
    let nets: PyResult<Vec<Net>> = addresses
        .iter()
        .map(|text| {
            let (host, prefix) = text.split_once('/').unwrap_or((text, ""));
            let host = address(host)?;
            let longest = if host.is_ipv4() { 32 } else { 128 };
            let prefix = if prefix.is_empty() { Ok(longest) } else { prefix.parse() };
            let prefix = prefix.map_err(|_| bad(format!("{text:?} has no valid prefix length")))?;
            Ok(Net { address: host, prefix })
        })
        .collect();
    let config = StackConfig {
        mac: octets.ok_or_else(|| bad(format!("{mac:?} is not a MAC address")))?,
        addresses: nets?,
        gateways: gateways.iter().map(|text| address(text)).collect::<PyResult<_>>()?,
        mtu,
        seed,
        receive_buffer,
        send_buffer,
        gso,
        sockets,
        inbox,
    };
    let (nic, end) = stack(&config).map_err(|e| bad(e.to_string()))?;
    Ok((Door::new(nic), StackHandle(end)))
}
