"""Words for machine monitors and switches other than QEMU and libvirt."""

# ruff: noqa: D103 - what each gives is said once, at `words`

from __future__ import annotations

from vnet.connect.facts import Facts, is_inet, must_connect, must_listen, path_of, vde_folder
from vnet.errors import BadInput


def vde(facts: Facts) -> list[str]:
    folder = vde_folder(facts, "vde_plug")
    return [
        f"vde_plug {folder}",
        f"# to a switch of VDE's: dpipe vde_plug {folder} = vde_plug /run/vde.ctl",
        f"# the guest's address is {facts['mac']}: frames from others are dropped",
    ]


def bochs(facts: Facts) -> list[str]:
    # In bochsrc; `ne2k` takes the same words. All versions of Bochs know the socket itself.
    folder = vde_folder(facts, "Bochs")
    return [f"e1000: enabled=1, mac={facts['mac']}, ethmod=vde, ethdev={folder}/ctl"]


def simh(facts: Facts) -> list[str]:
    return [f"set xq mac={facts['mac'].replace(':', '-')}", f"attach xq vde:{vde_folder(facts, 'SIMH')}"]


def uml(facts: Facts) -> list[str]:
    folder = vde_folder(facts, "User-mode Linux")
    return [f"vec0:transport=vde,vnl=vde://{folder},mac={facts['mac']}"]


def cloud_hypervisor(facts: Facts) -> list[str]:
    mode = "client" if facts["nic"].get("role") == "server" else "server"
    queues = 2 * int(facts["nic"].get("queues") or 1)
    return [
        "--memory size=1G,shared=on \\",
        f"--net vhost_user=true,socket={path_of(facts)},vhost_mode={mode},num_queues={queues},"
        f"mac={facts['mac']}" + (f",mtu={facts['mtu']}" if facts["mtu"] != 1500 else ""),
    ]


def _addressed(facts: Facts) -> list[str]:
    """What must be so for the guest to have the MAC address that the fabric knows it by."""
    if facts["nic"].get("config"):
        return []
    return [
        f"# give the NIC config: true, so that the device tells the guest its MAC address {facts['mac']}",
        "# (or set it in the guest: others' frames are dropped)",
    ]


def crosvm(facts: Facts) -> list[str]:
    must_listen(facts, "crosvm")
    return [f"crosvm run --vhost-user net,socket={path_of(facts)}", *_addressed(facts)]


def libkrun(facts: Facts) -> list[str]:
    must_listen(facts, "libkrun")
    queues = 2 * int(facts["nic"].get("queues") or 1)
    return [
        f"const uint16_t sizes[{queues}] = {{{', '.join(['256'] * queues)}}};",
        f'krun_add_vhost_user_device(ctx, 1, "{path_of(facts)}", "net0", {queues}, sizes);  /* 1: a NIC */',
        *(line.replace("# ", "/* ", 1) + " */" for line in _addressed(facts)),
    ]


def _file_of(facts: Facts, key: str, program: str) -> str:
    """The socket's path, for a `program` that knows no other addresses."""
    path = path_of(facts, key)
    if is_inet(path) or path.startswith("@"):
        raise BadInput(f"{facts['port']}: {program} speaks through sockets with a path: give it one")
    return path


def _krun_net(facts: Facts, function: str, path: str) -> list[str]:
    octets = ", ".join(f"0x{octet}" for octet in facts["mac"].split(":"))
    return [
        f"uint8_t mac[6] = {{{octets}}};",
        "/* No features: frames go to guests who would not complete what is left to do. */",
        f'{function}(ctx, "{path}", -1, mac, 0, 0);',
    ]


def libkrun_stream(facts: Facts) -> list[str]:
    must_listen(facts, "libkrun")
    return _krun_net(facts, "krun_add_net_unixstream", _file_of(facts, "socket", "libkrun"))


def libkrun_dgram(facts: Facts) -> list[str]:
    return _krun_net(facts, "krun_add_net_unixgram", _file_of(facts, "local", "libkrun"))


def gvproxy(facts: Facts) -> list[str]:
    must_connect(facts, "gvproxy")
    path = path_of(facts)
    return [f"gvproxy -listen-qemu {'tcp' if is_inet(path) else 'unix'}://{path}"]


def passt(facts: Facts) -> list[str]:
    must_connect(facts, "passt")
    return [f"passt --foreground --socket {_file_of(facts, 'socket', 'passt')}"]


def vfkit(facts: Facts) -> list[str]:
    path = _file_of(facts, "local", "vfkit")
    return [f"--device virtio-net,unixSocketPath={path},mac={facts['mac']}"]


def _udp(facts: Facts) -> tuple[str, str]:
    ours, theirs = path_of(facts, "local"), path_of(facts, "remote")
    if not (is_inet(ours) and is_inet(theirs)):
        raise BadInput(f"{facts['port']}: these words are for UDP: give it local and remote as host:port")
    return ours, theirs


def gns3(facts: Facts) -> list[str]:
    ours, theirs = _udp(facts)
    host, _, port = ours.rpartition(":")
    return [f"nio_udp: local port {theirs.rpartition(':')[2]}, remote host {host}, remote port {port}"]


def dynamips(facts: Facts) -> list[str]:
    ours, theirs = _udp(facts)
    host, _, port = ours.rpartition(":")
    return [f"nio create_udp nio0 {theirs.rpartition(':')[2]} {host} {port}"]


def dynamips_vde(facts: Facts) -> list[str]:
    # Its own socket in the switch's folder, where it is known to be its own.
    folder = vde_folder(facts, "Dynamips")
    return [f"nio create_vde nio0 {folder}/ctl {folder}/dynamips"]


def vpcs(facts: Facts) -> list[str]:
    ours, theirs = _udp(facts)
    host, _, port = ours.rpartition(":")
    return [
        f"vpcs -i 1 -s {theirs.rpartition(':')[2]} -c {port} -t {host}",
        "# its address is 00:50:79:66:68:00 (-m N adds N to the last byte): give the NIC that mac",
    ]


def ibm_pc(facts: Facts) -> list[str]:
    return [
        "[Network]",
        "net_01_net_type = vde",
        f"net_01_host_device = {vde_folder(facts, '86Box')}",
        "# its card brings an address of its maker's: give the NIC that mac",
    ]


def virtualbox(facts: Facts) -> list[str]:
    ours, theirs = _udp(facts)
    host, _, port = ours.rpartition(":")
    return [
        "VBoxManage modifyvm VM --nic1 generic --nicgenericdrv1 UDPTunnel \\",
        f"  --nicproperty1 dest={host} --nicproperty1 dport={port} \\",
        f"  --nicproperty1 sport={theirs.rpartition(':')[2]} --macaddress1 {facts['mac'].replace(':', '')}",
    ]
