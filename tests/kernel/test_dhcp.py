"""Addresses by DHCP: a real server and a real client; what the server says opens the guard, and closes it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

import vnet
from tests.kernel.test_guard import drops, run
from tests.needs import needs_tool, needs_tun

pytestmark = [needs_tun, needs_tool("dnsmasq"), needs_tool("busybox"), pytest.mark.deadline(120)]

SERVER = "10.9.8.1"


def topology() -> dict[str, Any]:
    server = {"network": "red", "ip": [SERVER], "guard": {"dhcp_server": "allow"}}
    return {
        "name": f"dhcp-{os.getpid()}",
        "networks": {"red": {"vlan": 10, "subnets": ["10.9.8.0/24"], "gateway": []}},
        "guests": {
            "server": {"kind": "netns", "nics": [server]},
            "client": {"kind": "netns", "nics": [{"network": "red", "ip": "dhcp"}]},
            "thief": {"kind": "netns", "nics": [{"network": "red", "ip": "dhcp"}]},
        },
    }


async def start(fabric: vnet.Fabric, name: str, *argv: str) -> trio.Process:
    guest = fabric.guests[name]
    assert isinstance(guest, vnet.NetnsGuest)
    assert guest.namespace is not None
    process: trio.Process = await guest.namespace.open_process(*argv)
    return process


def leases(fabric: vnet.Fabric, name: str) -> list[str]:
    return [lease["ip"] for lease in fabric.port(name).status()["leases"]]


async def until(holds: Callable[[], bool]) -> None:
    """The kernel and other programs have no event for us; the test's deadline ends it."""
    while not holds():  # noqa: ASYNC110
        await trio.sleep(0.02)


async def test_a_lease_opens_the_guard_and_a_release_closes_it(tmp_path: Path) -> None:
    script, configured = tmp_path / "script", tmp_path / "configured"
    script.write_text(
        '#!/bin/sh\n[ "$1" = bound ] || [ "$1" = renew ] || exit 0\nip addr replace $ip/24 dev $interface\n'
        f"touch {configured}\n"
    )
    script.chmod(0o755)
    async with vnet.Fabric.from_dict(topology(), runtime=tmp_path / "run") as fabric:
        eth = fabric.port("client").opened.carries
        server = await start(
            fabric, "server",
            "dnsmasq", "--keep-in-foreground", "--port=0", "--user=root", "--no-resolv",
            "--conf-file=/dev/null", f"--interface={fabric.port('server').opened.carries}",
            "--bind-interfaces",
            "--dhcp-range=10.9.8.100,10.9.8.100,255.255.255.0,1h", f"--dhcp-leasefile={tmp_path / 'leases'}",
            f"--pid-file={tmp_path / 'pid'}", "--no-ping", "--dhcp-authoritative",
        )  # fmt: skip
        try:
            # Before there is a lease no address is its own, not even the one that it is about to get.
            await run(fabric, "client", "ip", "addr", "add", "10.9.8.100/24", "dev", eth)
            await run(fabric, "client", "ping", "-c", "1", "-W", "1", SERVER, check=False)
            assert drops(fabric, "client").get("guard-arp", 0) > 0
            await run(fabric, "client", "ip", "addr", "flush", "dev", eth)
            assert leases(fabric, "client") == []

            client = await start(
                fabric, "client", "busybox", "udhcpc", "-f", "-R", "-i", eth, "-s", str(script), "-t", "10",
                "-T", "1",
            )  # fmt: skip
            try:
                await until(lambda: bool(leases(fabric, "client")))
                assert leases(fabric, "client") == ["10.9.8.100"]
                await until(configured.exists)
                before = drops(fabric, "client")
                await run(fabric, "client", "ping", "-c", "2", "-i", "0.1", SERVER)
                assert drops(fabric, "client").get("guard-ip4") == before.get("guard-ip4")
                assert await fabric.guests["server"].ping(fabric.guests["client"]) > 0

                # Nobody else may use it, nor claim it.
                other = fabric.port("thief").opened.carries
                await run(fabric, "thief", "ip", "addr", "add", "10.9.8.100/24", "dev", other)
                await run(fabric, "thief", "ping", "-c", "1", "-W", "1", SERVER, check=False)
                assert drops(fabric, "thief").get("guard-arp", 0) > 0

                # An `apply` that changes something else does not take it away.
                changed = topology()
                changed["guests"]["client"]["nics"][0]["limits"] = {"egress": {"rate": "1 Gbit/s"}}
                await fabric.apply(vnet.Topology.from_dict(changed))
                await run(fabric, "client", "ping", "-c", "1", SERVER)
            finally:
                client.terminate()  # -R: it gives the lease back
                await client.wait()
            await until(lambda: not leases(fabric, "client"))
            await run(fabric, "client", "ip", "addr", "replace", "10.9.8.100/24", "dev", eth)
            refused = sum(drops(fabric, "client").values())
            await run(fabric, "client", "ping", "-c", "1", "-W", "1", SERVER, check=False)
            assert sum(drops(fabric, "client").values()) > refused
        finally:
            server.terminate()
            await server.wait()
