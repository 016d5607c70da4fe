"""A frame as people write it: hex, or a scapy expression whose blanks are filled in for a port.

scapy is imported here only when an expression is given: it is an extra, and GPL. An expression is
Python, evaluated in the process of whoever typed it, never in the fabric's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Any

from vnet.errors import BadInput, VnetError

BROADCAST = "ff:ff:ff:ff:ff:ff"
EVERYBODY = "255.255.255.255"


def frame(text: str, port: dict[str, Any], ports: Sequence[dict[str, Any]]) -> bytes:
    """The bytes of `text` as sent by `port`; `ports` are all of the fabric's. Both are entries of the
    status document.

    What an expression leaves out is filled in as a guest would: the sources are the port's own, the
    destination MAC is that of the guest with the destination's address, or broadcast. Raises BadInput.
    """
    return spelled(text, port, ports)[0]


def spelled(text: str, port: dict[str, Any], ports: Sequence[dict[str, Any]]) -> tuple[bytes, str | None]:
    """The same, and a sentence for who left it to us whose MAC address it goes to. Raises BadInput."""
    packed = re.sub(r"[\s:._-]|^0x", "", text)
    if re.fullmatch(r"[0-9a-fA-F]+", packed):
        if len(packed) % 2:
            raise BadInput(f"frame: {len(packed)} hex digits, expected an even number")
        return bytes.fromhex(packed), None
    return _built(_evaluated(text), port, ports)


def _evaluated(text: str) -> Any:
    try:
        import scapy.all as scapy
    except ImportError:
        raise VnetError(
            "a frame as an expression needs scapy: pip install 'vnet-fabric[scapy]', or give it in hex"
        ) from None
    names = {name: getattr(scapy, name) for name in dir(scapy) if not name.startswith("_")}
    try:
        found = eval(text, names)  # noqa: S307 - the user's own expression, in the user's own process
    except Exception as error:
        raise BadInput(
            f"frame {text!r}: {error or type(error).__name__}; expected hex, or an expression such as "
            "Ether()/IP(dst='10.0.0.2')/ICMP()"
        ) from None
    if isinstance(found, bytes | bytearray):
        return bytes(found)
    if not isinstance(found, scapy.Packet):
        raise BadInput(f"frame {text!r}: found {type(found).__name__}, expected a scapy packet or bytes")
    return found if isinstance(found, scapy.Ether | scapy.Dot3) else scapy.Ether() / found


def _built(packet: Any, port: dict[str, Any], ports: Sequence[dict[str, Any]]) -> tuple[bytes, str | None]:
    """The packet's bytes, and what there is to say of its destination. Nothing is left for scapy to find
    out by itself: it would ask this host's routes, and send ARP on its interfaces.
    """
    if isinstance(packet, bytes):
        return packet, None
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import ARP, Dot3, Ether

    own = [ipaddress.ip_address(address) for address in port.get("ip") or ()]
    target = filled = None
    for layer, version in ((IP, 4), (IPv6, 6)):
        if layer in packet:
            fields = packet[layer].fields
            mine = next((str(address) for address in own if address.version == version), None)
            fields.setdefault("src", mine or ("0.0.0.0" if version == 4 else "::"))  # noqa: S104
            fields.setdefault("dst", EVERYBODY if version == 4 else "ff02::1")
            target = target or fields["dst"]
            break
    if ARP in packet:
        fields = packet[ARP].fields
        fields.setdefault("hwsrc", port.get("mac") or "02:00:00:00:00:00")
        fields.setdefault("psrc", next((str(a) for a in own if a.version == 4), "0.0.0.0"))  # noqa: S104
    if (outer := packet.getlayer(Ether) or packet.getlayer(Dot3)) is not None:
        outer.fields.setdefault("src", port.get("mac") or "02:00:00:00:00:00")
        if "dst" not in outer.fields:
            outer.fields["dst"], filled = _station(target, port, ports)
    try:
        return bytes(packet), filled
    except Exception as error:
        raise BadInput(f"the frame can't be built: {error or type(error).__name__}") from None


def _station(target: Any, port: dict[str, Any], ports: Sequence[dict[str, Any]]) -> tuple[str, str | None]:
    """The MAC address of who has the address `target` in the port's network, and how that is known."""
    try:
        address = ipaddress.ip_address(str(target))
    except ValueError:
        return BROADCAST, None
    if address.is_multicast:
        low = int(address)
        if address.version == 4:
            octets = (0x01005E << 24 | low & 0x7FFFFF).to_bytes(6)
        else:
            octets = (0x3333 << 32 | low & 0xFFFFFFFF).to_bytes(6)
        return octets.hex(":"), None
    for other in ports:
        if str(address) in (other.get("ip") or ()) and (other["vlan"] == port["vlan"] or port["trunk"]):
            mac = str(other["mac"])
            return mac, f"{address} is {other['port']}'s: sent to its MAC address, {mac}."
    if str(address) == EVERYBODY:
        return BROADCAST, None
    return BROADCAST, f"No NIC here has {address}: sent to everybody."
