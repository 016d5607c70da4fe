"""vnet: a virtual network fabric for isolating virtual private servers.

Guests (in-process TCP/IP stacks, network namespaces, virtual machines) own emulated NICs; a
user-space switch with VLANs carries frames between them. Every public name is here.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nics.dgram import Dgram
    from nics.errors import BadInput, NicError, Unreachable, VnetError
    from nics.packet import Packet
    from nics.pcap import Pcap
    from nics.pipe import Pipe, PipeEnd
    from nics.stack import Host, Stack
    from nics.stack_sockets import PacketSocket, TcpListener, TcpStream, UdpSocket
    from nics.stream import Stream
    from nics.tap import Tap
    from nics.vde import Vde
    from nics.vhost_user import VhostUser
    from nics.xdp import Xdp
    from vnet.capture import Capture, CaptureError, FilterError
    from vnet.fabric import Fabric
    from vnet.guests import Guest, NetnsGuest, QemuGuest, StackGuest
    from vnet.port import Port
    from vnet.topology import Topology

_HOMES = {
    "BadInput": "nics.errors",
    "Capture": "vnet.capture",
    "CaptureError": "vnet.capture",
    "Dgram": "nics.dgram",
    "Fabric": "vnet.fabric",
    "FilterError": "vnet.capture",
    "Guest": "vnet.guests",
    "Host": "nics.stack",
    "NetnsGuest": "vnet.guests",
    "NicError": "nics.errors",
    "Packet": "nics.packet",
    "PacketSocket": "nics.stack_sockets",
    "Pcap": "nics.pcap",
    "Pipe": "nics.pipe",
    "PipeEnd": "nics.pipe",
    "Port": "vnet.port",
    "QemuGuest": "vnet.guests",
    "Stack": "nics.stack",
    "StackGuest": "vnet.guests",
    "Stream": "nics.stream",
    "Tap": "nics.tap",
    "TcpListener": "nics.stack_sockets",
    "TcpStream": "nics.stack_sockets",
    "Topology": "vnet.topology",
    "UdpSocket": "nics.stack_sockets",
    "Unreachable": "nics.errors",
    "Vde": "nics.vde",
    "VhostUser": "nics.vhost_user",
    "VnetError": "nics.errors",
    "Xdp": "nics.xdp",
}

__all__ = [
    "BadInput",
    "Capture",
    "CaptureError",
    "Dgram",
    "Fabric",
    "FilterError",
    "Guest",
    "Host",
    "NetnsGuest",
    "NicError",
    "Packet",
    "PacketSocket",
    "Pcap",
    "Pipe",
    "PipeEnd",
    "Port",
    "QemuGuest",
    "Stack",
    "StackGuest",
    "Stream",
    "Tap",
    "TcpListener",
    "TcpStream",
    "Topology",
    "UdpSocket",
    "Unreachable",
    "Vde",
    "VhostUser",
    "VnetError",
    "Xdp",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is asked for: the command line starts in a tenth of a second."""
    if name in _HOMES:
        from importlib import import_module

        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'vnet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
