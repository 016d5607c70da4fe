"""IPv6 zones are the guest's: eth0 and eth1, whatever the machine's interfaces are called."""

from __future__ import annotations

import errno

import pytest
import trio
from trio import socket as ts

import vnet
from vnet.sockets.names import Names

LAB = {
    "name": "lab",
    "networks": {"one": {"subnets": ["fd01::/64"]}, "two": {"subnets": ["fd02::/64"]}},
    "guests": {
        "m": {"nics": [{"network": "one"}, {"network": "two"}]},
        "y": {"nics": [{"network": "two"}]},
    },
}


def near(guest: vnet.Guest, nic: int = 0) -> str:
    """A NIC's link-local address."""
    far = list(guest.ports.values())[nic].opened.far
    return next(str(address.ip) for address in far.addresses if address.ip.is_link_local)  # type: ignore[union-attr]


@pytest.mark.usefixtures("autojump_clock")
async def test_an_address_with_a_zone_leads_through_that_nic() -> None:
    async with vnet.Fabric.from_dict(LAB) as fabric:
        m, y = fabric.guests["m"], fabric.guests["y"]
        assert isinstance(m, vnet.StackGuest)
        assert isinstance(y, vnet.StackGuest)
        async with y.as_network():
            listener = ts.socket(ts.AF_INET6)
            await listener.bind(("::", 80))
            listener.listen(5)
        async with m.as_network():
            there = near(y)
            for ask, zone in ((Names(m).getaddrinfo, "eth1"), (ts.getaddrinfo, "3")):
                found = await ask(f"{there}%{zone}", 80, type=ts.SOCK_STREAM)
                assert [sockaddr for *_, sockaddr in found] == [(there, 80, 0, 3)]
            stream = await trio.open_tcp_stream(f"{there}%3", 80)
            assert stream.socket.getsockname()[0::3] == (near(m, 1), 3)
            peer = stream.socket.getpeername()
            assert (await ts.getnameinfo(peer, ts.NI_NUMERICHOST))[0] == f"{there}%eth1"
            await stream.aclose()
            for address in ((f"{there}%eth1", 80), (there, 80, 0, 3)):
                with ts.socket(ts.AF_INET6) as plain:
                    await plain.connect(address)
            for zone in ("nobodys", "nosuch"):
                with pytest.raises(ts.gaierror):
                    await ts.getaddrinfo(f"{there}%{zone}", 80)
                with ts.socket(ts.AF_INET6) as plain, pytest.raises(ts.gaierror):
                    await plain.connect((f"{there}%{zone}", 80))
            for scope in (1, 99):
                with ts.socket(ts.AF_INET6) as plain, pytest.raises(OSError) as caught:
                    await plain.connect((there, 80, 0, scope))
                assert caught.value.errno == errno.ENODEV
        listener.close()


@pytest.mark.usefixtures("autojump_clock")
async def test_an_address_is_bound_in_its_own_zone_alone() -> None:
    async with vnet.Fabric.from_dict(LAB) as fabric:
        m = fabric.guests["m"]
        assert isinstance(m, vnet.StackGuest)
        async with m.as_network():
            for scope in (1, 2, 3, 4):
                with ts.socket(ts.AF_INET6) as plain:
                    if scope == 3:
                        await plain.bind((near(m, 1), 0, 0, scope))
                        assert plain.getsockname()[3] == scope
                    else:
                        with pytest.raises(OSError) as caught:
                            await plain.bind((near(m, 1), 0, 0, scope))
                        assert caught.value.errno == errno.EADDRNOTAVAIL
            # Where it says nothing it is not looked at.
            with ts.socket(ts.AF_INET6) as plain:
                await plain.bind((str(m.addresses[0]), 0, 0, 99))
