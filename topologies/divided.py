"""Several networks, and who may get from one to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vnet.topology import Topology

FIRST_VLAN = 101


def tenants(topology: Topology, tenants: int, hosts: int, kind: str) -> None:
    """Networks t1, t2, ... with one subnet. No address is in use twice, so that a frame which crosses
    over by mistake is answered and seen.
    """
    names = [f"t{number}" for number in range(1, tenants + 1)]
    address = 10 * 2**24 + 2**16 + 10  # 10.1.0.10; the first of a subnet is its gateway's
    for number, name in enumerate(names):
        topology.network(name, vlan=FIRST_VLAN + number, subnets=["10.1.0.0/16"])
        for host in range(1, hosts + 1):
            address += 1
            text = ".".join(str(byte) for byte in address.to_bytes(4))
            topology.guest(f"{name}-h{host}", kind=kind, network=name, ip=text)
    for name in names if hosts else ():
        topology.expecting(f"{name}-*", f"{name}-*")
        others = [f"{other}-*" for other in names if other != name]
        if others:
            topology.expecting(f"{name}-*", others, reach=False, protocol="ethernet")


def router_on_a_stick(topology: Topology, networks: int, hosts: int, kind: str) -> None:
    """Networks n1, n2, ... and `router`, with all of them tagged at its one NIC and the right to be the
    gateway 10.N.0.1 of each and to forward between them. Whether it does is its own business.
    """
    names = [f"n{number}" for number in range(1, networks + 1)]
    for number, name in enumerate(names, 1):
        topology.network(
            name,
            vlan=FIRST_VLAN - 1 + number,
            subnets=[f"10.{number}.0.0/16"],
            gateway=f"10.{number}.0.1",
        )
        for host in range(1, hosts + 1):
            topology.guest(f"{name}-h{host}", kind=kind, network=name)
    allow = [{"ip": f"10.{number}.0.0/16"} for number in range(1, networks + 1)]
    topology.guest("router", kind=kind, nics=[{"trunk": names, "guard": {"allow": allow}}])
    for name in names if hosts else ():
        topology.expecting(f"{name}-*", f"{name}-*")
        others = [f"{other}-*" for other in names if other != name]
        topology.expecting(f"{name}-*", others, via="router")


def shared_uplink(topology: Topology, tenants: int, hosts: int, interface: str, kind: str) -> None:
    """Networks t1, t2, ..., each tagged with its VLAN on one physical interface, which is nobody's: who is
    at the other end of it may be each network's gateway, and nothing passes from one to another here.
    """
    names = [f"t{number}" for number in range(1, tenants + 1)]
    for number, name in enumerate(names, 1):
        topology.network(name, vlan=FIRST_VLAN - 1 + number, subnets=[f"10.{number}.0.0/16"])
        for host in range(1, hosts + 1):
            topology.guest(f"{name}-h{host}", kind=kind, network=name)
    topology.uplink("wan", nic={"kind": "packet", "interface": interface}, tagged=names)
    for name in names if hosts else ():
        topology.expecting(f"{name}-*", f"{name}-*")
        others = [f"{other}-*" for other in names if other != name]
        if others:
            topology.expecting(f"{name}-*", others, reach=False, protocol="ethernet")


def dual_homed(topology: Topology, servers: int, hosts: int, kind: str) -> None:
    """Networks `left` and `right`, each at a switch of its own, guests in one, and servers in both.
    The servers may not forward: what is left stays left.
    """
    sides = {"left": "10.1.0.0/16", "right": "10.2.0.0/16"}
    for number, (side, subnet) in enumerate(sides.items()):
        topology.network(side, vlan=FIRST_VLAN + number, subnets=[subnet]).switch(side)
    for side in sides:
        for host in range(1, hosts + 1):
            topology.guest(f"{side}-h{host}", kind=kind, network=side, switch=side)
    for server in range(1, servers + 1):
        nics = [{"network": side, "switch": side} for side in sides]
        topology.guest(f"server{server}", kind=kind, nics=nics)
    if hosts:
        topology.expecting([f"{side}-*" for side in sides], "server*")
        topology.expecting("left-*", "right-*", reach=False).expecting("right-*", "left-*", reach=False)
