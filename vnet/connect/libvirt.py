"""Words for libvirt: elements of a domain's XML, or QEMU's own words passed through."""

# ruff: noqa: D103 - what each gives is said once, at `words`

from __future__ import annotations

from xml.sax.saxutils import quoteattr

from nics.endpoint import Endpoint
from vnet.connect import qemu
from vnet.connect.facts import Facts, is_inet, path_of


def vhost_user(facts: Facts) -> list[str]:
    mode = "client" if facts["nic"].get("role") == "server" else "server"
    queues = int(facts["nic"].get("queues") or 1)
    return [
        "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>",
        "<interface type='vhostuser'>",
        f"  <mac address={quoteattr(facts['mac'])}/>",
        f"  <source type='unix' path={quoteattr(path_of(facts))} mode='{mode}'>",
        *(["    <reconnect enabled='yes' timeout='1'/>"] if mode == "client" else []),
        "  </source>",
        "  <model type='virtio'/>",
        *([f"  <driver queues='{queues}'/>"] if queues > 1 else []),
        f"  <mtu size='{facts['mtu']}'/>",
        "</interface>",
    ]


def tap(facts: Facts) -> list[str]:
    return [
        "<interface type='ethernet'>",
        f"  <mac address={quoteattr(facts['mac'])}/>",
        f"  <target dev={quoteattr(str(facts['carries']))} managed='no'/>",
        "  <model type='virtio'/>",
        "</interface>",
    ]


def _socket(facts: Facts, kind: str, ours: str, theirs: str = "") -> list[str]:
    """Sockets that libvirt has elements for: of IPv4. These take no MTU, so that of Ethernet it is."""

    def source(tag: str, value: str, end: str) -> str:
        host, _, port = value.rpartition(":")
        return f"<{tag} address={quoteattr(host)} port={quoteattr(port)}{end}>"

    inner = (
        [f"  {source('source', ours, '')}", f"    {source('local', theirs, '/')}", "  </source>"]
        if theirs
        else [f"  {source('source', ours, '/')}"]
    )
    return [
        f"<interface type='{kind}'>",
        f"  <mac address={quoteattr(facts['mac'])}/>",
        *inner,
        "  <model type='virtio'/>",
        "</interface>",
    ]


def _has_element(facts: Facts, *values: str) -> bool:
    return facts["mtu"] == 1500 and all(is_inet(value) and not value.startswith("[") for value in values)


def stream(facts: Facts) -> list[str]:
    if not _has_element(facts, path := path_of(facts)):
        return arguments(facts)
    return _socket(facts, "client" if facts["nic"].get("role") == "server" else "server", path)


def dgram(facts: Facts) -> list[str]:
    if _has_element(facts, theirs := path_of(facts, "remote")) and Endpoint.parse(theirs).multicast:
        return _socket(facts, "mcast", theirs)
    if is_inet(theirs) and Endpoint.parse(theirs).multicast:
        return arguments(facts)
    if not _has_element(facts, ours := path_of(facts, "local"), theirs):
        return arguments(facts)
    return _socket(facts, "udp", ours, theirs)


def arguments(facts: Facts) -> list[str]:
    """Libvirt has no element for it: QEMU's own words, passed through."""
    lines = qemu.KINDS[facts["kind"]](facts)
    words = " ".join(line.removesuffix("\\") for line in lines if not line.startswith("#")).split()
    arguments = [f"  <qemu:arg value={quoteattr(word)}/>" for word in words]
    return [
        "<!-- in <domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'> -->",
        "<qemu:commandline>",
        *arguments,
        "</qemu:commandline>",
    ]
