"""The exact words that plug a VM into a port, for each program that can be plugged there.

`words(facts, form)` is pure: from what `vnet connect` was told about a port to lines that can be
pasted. MAC addresses stand in them because the fabric knows its guests by them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any
from xml.sax.saxutils import quoteattr

from nics.endpoint import Endpoint
from vnet.errors import BadInput

Facts = Mapping[str, Any]
"""`port`, `kind`, `mac`, `mtu`, `carries` (interface or socket), `nic` (its keys), `runtime`."""


def _path(facts: Facts, key: str = "socket") -> str:
    """An address as the other side has to say it: a path is made absolute."""
    value = str(facts["nic"].get(key) or "")
    if not value:
        raise BadInput(f"{facts['port']} has no {key}: give it one in the topology file")
    return value if _is_inet(value) or value.startswith("@") else str(PurePath(facts["runtime"]) / value)


def _is_inet(value: str) -> bool:
    host, colon, port = value.rpartition(":")
    return bool(colon) and port.isdecimal() and "/" not in host


def _qemu_address(value: str, prefix: str = "addr") -> str:
    if _is_inet(value):
        host, _, port = value.rpartition(":")
        return f"{prefix}.type=inet,{prefix}.host={host.strip('[]')},{prefix}.port={port}"
    if value.startswith("@"):
        if prefix != "addr":
            raise BadInput(f"QEMU's dgram knows no abstract sockets like {value}: give the port paths")
        return f"{prefix}.type=unix,{prefix}.path={value[1:]},{prefix}.abstract=on"
    return f"{prefix}.type=unix,{prefix}.path={value}"


def _device(facts: Facts, extra: str = "") -> str:
    mtu = f",host_mtu={facts['mtu']}" if facts["mtu"] != 1500 else ""
    return f"-device virtio-net-pci,netdev=net0,mac={facts['mac']}{mtu}{extra}"


def _qemu_stream(facts: Facts) -> list[str]:
    theirs = "off" if facts["nic"].get("role") == "server" else "on"
    lines = [f"-netdev stream,id=net0,server={theirs},{_qemu_address(_path(facts))} \\", _device(facts)]
    if theirs == "off":
        lines.append(
            "# to survive a restart of the fabric add reconnect=1 (QEMU 8.0), reconnect-ms=1000 (9.2)"
        )
    return lines


def _qemu_dgram(facts: Facts) -> list[str]:
    if _is_inet(theirs := _path(facts, "remote")) and Endpoint.parse(theirs).multicast:
        return [f"-netdev dgram,id=net0,{_qemu_address(theirs, 'remote')} \\", _device(facts)]
    local, remote = _qemu_address(theirs, "local"), _qemu_address(_path(facts, "local"), "remote")
    return [f"-netdev dgram,id=net0,{local},{remote} \\", _device(facts)]


def _qemu_vhost_user(facts: Facts) -> list[str]:
    path = _path(facts)
    if path.startswith("@"):
        path = f"{path[1:]},abstract=on"
    server = "" if facts["nic"].get("role") == "server" else ",server=on,wait=off"
    reconnect = ",reconnect=1" if not server else ""
    queues = int(facts["nic"].get("queues") or 1)
    many = f",queues={queues}" if queues > 1 else ""
    vectors = f",mq=on,vectors={2 * queues + 2}" if queues > 1 else ""
    remarks = ["# the memory object's size is that of -m; without KVM add vectors=0 to the device"]
    if reconnect:
        remarks.append("# QEMU 9.2 and later: reconnect-ms=1000 instead of reconnect=1")
    return [
        "-m 1G -object memory-backend-memfd,id=mem,size=1G,share=on -machine memory-backend=mem \\",
        f"-chardev socket,id=chr0,path={path}{server}{reconnect} \\",
        f"-netdev vhost-user,id=net0,chardev=chr0{many} \\",
        _device(facts, vectors),
        *remarks,
    ]


def _qemu_tap(facts: Facts) -> list[str]:
    name = facts["carries"]
    return [
        f"# vnet has the TAP {name} itself: give the VM a stream, dgram or vhost-user NIC instead,",
        f"# or bridge {name} on the host",
    ]


def _libvirt_vhost_user(facts: Facts) -> list[str]:
    mode = "client" if facts["nic"].get("role") == "server" else "server"
    queues = int(facts["nic"].get("queues") or 1)
    return [
        "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>",
        "<interface type='vhostuser'>",
        f"  <mac address={quoteattr(facts['mac'])}/>",
        f"  <source type='unix' path={quoteattr(_path(facts))} mode='{mode}'>",
        *(["    <reconnect enabled='yes' timeout='1'/>"] if mode == "client" else []),
        "  </source>",
        "  <model type='virtio'/>",
        *([f"  <driver queues='{queues}'/>"] if queues > 1 else []),
        f"  <mtu size='{facts['mtu']}'/>",
        "</interface>",
    ]


def _libvirt_tap(facts: Facts) -> list[str]:
    return [
        "<interface type='ethernet'>",
        f"  <mac address={quoteattr(facts['mac'])}/>",
        f"  <target dev={quoteattr(str(facts['carries']))} managed='no'/>",
        "  <model type='virtio'/>",
        "</interface>",
    ]


def _libvirt_socket(facts: Facts, kind: str, ours: str, theirs: str = "") -> list[str]:
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
    return facts["mtu"] == 1500 and all(_is_inet(value) and not value.startswith("[") for value in values)


def _libvirt_stream(facts: Facts) -> list[str]:
    if not _has_element(facts, path := _path(facts)):
        return _libvirt_arguments(facts)
    return _libvirt_socket(facts, "client" if facts["nic"].get("role") == "server" else "server", path)


def _libvirt_dgram(facts: Facts) -> list[str]:
    if _has_element(facts, theirs := _path(facts, "remote")) and Endpoint.parse(theirs).multicast:
        return _libvirt_socket(facts, "mcast", theirs)
    if _is_inet(theirs) and Endpoint.parse(theirs).multicast:
        return _libvirt_arguments(facts)
    if not _has_element(facts, ours := _path(facts, "local"), theirs):
        return _libvirt_arguments(facts)
    return _libvirt_socket(facts, "udp", ours, theirs)


def _libvirt_arguments(facts: Facts) -> list[str]:
    """Libvirt has no element for it: QEMU's own words, passed through."""
    lines = QEMU[facts["kind"]](facts)
    words = " ".join(line.removesuffix("\\") for line in lines if not line.startswith("#")).split()
    arguments = [f"  <qemu:arg value={quoteattr(word)}/>" for word in words]
    return [
        "<!-- in <domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'> -->",
        "<qemu:commandline>",
        *arguments,
        "</qemu:commandline>",
    ]


def _vde_folder(facts: Facts, program: str) -> str:
    _must_listen(facts, program)
    return _path(facts, "directory")


def _qemu_vde(facts: Facts) -> list[str]:
    return [
        f"-netdev vde,id=net0,sock={_vde_folder(facts, 'QEMU')} \\",
        _device(facts, ",id=nic0"),
        "# QEMU does not plug in again: after a restart of the fabric, device_del nic0, netdev_del net0,",
        "# and both added again; or give the port a NIC of kind stream",
    ]


def _vde(facts: Facts) -> list[str]:
    folder = _vde_folder(facts, "vde_plug")
    return [
        f"vde_plug {folder}",
        f"# to a switch of VDE's: dpipe vde_plug {folder} = vde_plug /run/vde.ctl",
        f"# the guest's address is {facts['mac']}: frames from others are dropped",
    ]


def _bochs(facts: Facts) -> list[str]:
    # In bochsrc; `ne2k` takes the same words. All versions of Bochs know the socket itself.
    folder = _vde_folder(facts, "Bochs")
    return [f"e1000: enabled=1, mac={facts['mac']}, ethmod=vde, ethdev={folder}/ctl"]


def _simh(facts: Facts) -> list[str]:
    return [f"set xq mac={facts['mac'].replace(':', '-')}", f"attach xq vde:{_vde_folder(facts, 'SIMH')}"]


def _uml(facts: Facts) -> list[str]:
    folder = _vde_folder(facts, "User-mode Linux")
    return [f"vec0:transport=vde,vnl=vde://{folder},mac={facts['mac']}"]


def _cloud_hypervisor(facts: Facts) -> list[str]:
    mode = "client" if facts["nic"].get("role") == "server" else "server"
    queues = 2 * int(facts["nic"].get("queues") or 1)
    return [
        "--memory size=1G,shared=on \\",
        f"--net vhost_user=true,socket={_path(facts)},vhost_mode={mode},num_queues={queues},"
        f"mac={facts['mac']}" + (f",mtu={facts['mtu']}" if facts["mtu"] != 1500 else ""),
    ]


def _must_listen(facts: Facts, program: str) -> None:
    if facts["nic"].get("role") != "server":
        raise BadInput(f"{facts['port']}: {program} connects and can't listen: give its NIC role: server")


def _must_connect(facts: Facts, program: str) -> None:
    if facts["nic"].get("role") != "client":
        raise BadInput(f"{facts['port']}: {program} listens and can't connect: give its NIC role: client")


def _addressed(facts: Facts) -> list[str]:
    """What must be so for the guest to have the MAC address that the fabric knows it by."""
    if facts["nic"].get("config"):
        return []
    return [
        f"# give the NIC config: true, so that the device tells the guest its MAC address {facts['mac']}",
        "# (or set it in the guest: others' frames are dropped)",
    ]


def _crosvm(facts: Facts) -> list[str]:
    _must_listen(facts, "crosvm")
    return [f"crosvm run --vhost-user net,socket={_path(facts)}", *_addressed(facts)]


def _libkrun(facts: Facts) -> list[str]:
    _must_listen(facts, "libkrun")
    queues = 2 * int(facts["nic"].get("queues") or 1)
    return [
        f"const uint16_t sizes[{queues}] = {{{', '.join(['256'] * queues)}}};",
        f'krun_add_vhost_user_device(ctx, 1, "{_path(facts)}", "net0", {queues}, sizes);  /* 1: a NIC */',
        *(line.replace("# ", "/* ", 1) + " */" for line in _addressed(facts)),
    ]


def _krun_net(facts: Facts, function: str, path: str) -> list[str]:
    if _is_inet(path) or path.startswith("@"):
        raise BadInput(f"{facts['port']}: libkrun speaks through sockets with a path: give it one")
    octets = ", ".join(f"0x{octet}" for octet in facts["mac"].split(":"))
    return [
        f"uint8_t mac[6] = {{{octets}}};",
        "/* No features: frames go to guests who would not complete what is left to do. */",
        f'{function}(ctx, "{path}", -1, mac, 0, 0);',
    ]


def _libkrun_stream(facts: Facts) -> list[str]:
    _must_listen(facts, "libkrun")
    return _krun_net(facts, "krun_add_net_unixstream", _path(facts))


def _libkrun_dgram(facts: Facts) -> list[str]:
    return _krun_net(facts, "krun_add_net_unixgram", _path(facts, "local"))


def _gvproxy(facts: Facts) -> list[str]:
    _must_connect(facts, "gvproxy")
    path = _path(facts)
    return [f"gvproxy -listen-qemu {'tcp' if _is_inet(path) else 'unix'}://{path}"]


def _passt(facts: Facts) -> list[str]:
    _must_connect(facts, "passt")
    return [f"passt --foreground --socket {_path(facts)}"]


def _vfkit(facts: Facts) -> list[str]:
    return [f"--device virtio-net,unixSocketPath={_path(facts, 'local')},mac={facts['mac']}"]


def _udp(facts: Facts) -> tuple[str, str]:
    ours, theirs = _path(facts, "local"), _path(facts, "remote")
    if not (_is_inet(ours) and _is_inet(theirs)):
        raise BadInput(f"{facts['port']}: these words are for UDP: give it local and remote as host:port")
    return ours, theirs


def _gns3(facts: Facts) -> list[str]:
    ours, theirs = _udp(facts)
    host, _, port = ours.rpartition(":")
    return [f"nio_udp: local port {theirs.rpartition(':')[2]}, remote host {host}, remote port {port}"]


def _dynamips(facts: Facts) -> list[str]:
    ours, theirs = _udp(facts)
    host, _, port = ours.rpartition(":")
    return [f"nio create_udp nio0 {theirs.rpartition(':')[2]} {host} {port}"]


def _dynamips_vde(facts: Facts) -> list[str]:
    # Its own socket in the switch's folder, where it is known to be its own.
    folder = _vde_folder(facts, "Dynamips")
    return [f"nio create_vde nio0 {folder}/ctl {folder}/dynamips"]


def _vpcs(facts: Facts) -> list[str]:
    ours, theirs = _udp(facts)
    host, _, port = ours.rpartition(":")
    return [
        f"vpcs -i 1 -s {theirs.rpartition(':')[2]} -c {port} -t {host}",
        "# its address is 00:50:79:66:68:00 (-m N adds N to the last byte): give the NIC that mac",
    ]


def _86box(facts: Facts) -> list[str]:
    return [
        "[Network]",
        "net_01_net_type = vde",
        f"net_01_host_device = {_vde_folder(facts, '86Box')}",
        "# its card brings an address of its maker's: give the NIC that mac",
    ]


def _virtualbox(facts: Facts) -> list[str]:
    ours, theirs = _udp(facts)
    host, _, port = ours.rpartition(":")
    return [
        "VBoxManage modifyvm VM --nic1 generic --nicgenericdrv1 UDPTunnel \\",
        f"  --nicproperty1 dest={host} --nicproperty1 dport={port} \\",
        f"  --nicproperty1 sport={theirs.rpartition(':')[2]} --macaddress1 {facts['mac'].replace(':', '')}",
    ]


Words = Callable[[Facts], list[str]]

QEMU: dict[str, Words] = {
    "stream": _qemu_stream,
    "dgram": _qemu_dgram,
    "vhost-user": _qemu_vhost_user,
    "tap": _qemu_tap,
    "vde": _qemu_vde,
}
FORMS: dict[str, dict[str, Words]] = {
    "qemu": QEMU,
    "libvirt": {
        "vhost-user": _libvirt_vhost_user,
        "tap": _libvirt_tap,
        "stream": _libvirt_stream,
        "dgram": _libvirt_dgram,
        "vde": _libvirt_arguments,
    },
    "cloud-hypervisor": {"vhost-user": _cloud_hypervisor},
    "crosvm": {"vhost-user": _crosvm},
    "libkrun": {"vhost-user": _libkrun, "stream": _libkrun_stream, "dgram": _libkrun_dgram},
    "passt": {"stream": _passt},
    "gvproxy": {"stream": _gvproxy},
    "vfkit": {"dgram": _vfkit},
    "gns3": {"dgram": _gns3},
    "dynamips": {"dgram": _dynamips, "vde": _dynamips_vde},
    "vpcs": {"dgram": _vpcs},
    "virtualbox": {"dgram": _virtualbox},
    "vde": {"vde": _vde},
    "bochs": {"vde": _bochs},
    "simh": {"vde": _simh},
    "uml": {"vde": _uml},
    "86box": {"vde": _86box},
}


def words(facts: Facts, form: str) -> list[str]:
    """The lines for `form`. Raises BadInput when that program can't be plugged into such a NIC."""
    kinds = FORMS[form]
    if facts["kind"] not in kinds:
        fitting = ", ".join(form for form, kinds in FORMS.items() if facts["kind"] in kinds)
        other = f"; its formats are {fitting}" if fitting else ""
        raise BadInput(
            f"{facts['port']} is of kind {facts['kind']}, which {form} can't be plugged into{other}"
        )
    return kinds[facts["kind"]](facts)
