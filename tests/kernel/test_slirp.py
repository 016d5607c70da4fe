"""A way out for a whole network without root: slirpvde's NAT and DHCP server, plugged into an uplink."""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import trio

import vnet
from tests.kernel.test_dhcp import leases, start, until
from tests.kernel.test_guard import run
from tests.needs import needs_tool, needs_tun

pytestmark = [needs_tun, needs_tool("slirpvde"), needs_tool("busybox"), pytest.mark.deadline(90)]

GATEWAY = "10.0.2.2"
GREETING = b"hello from this host"


def topology() -> dict[str, Any]:
    guest = {"kind": "netns", "nics": [{"network": "red", "ip": "dhcp"}]}
    return {
        "name": f"slirp-{os.getpid()}",
        "networks": {"red": {"subnets": ["10.0.2.0/24"], "gateway": GATEWAY}},
        "guests": {"one": guest, "two": guest},
        "uplinks": {"wan": {"nic": {"kind": "vde", "directory": "nat"}, "native": "red"}},
    }


async def greet(stream: trio.SocketStream) -> None:
    async with stream:
        await stream.send_all(GREETING)


async def test_two_guests_get_addresses_and_reach_the_host_by_nat(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('#!/bin/sh\n[ "$1" = bound ] && ip addr replace $ip/24 dev $interface; exit 0\n')
    script.chmod(0o755)
    # A short path, as sockets need it.
    with tempfile.TemporaryDirectory(prefix="vnet-") as folder:
        async with (
            vnet.Fabric.from_dict(topology(), runtime=Path(folder) / "run") as fabric,
            trio.open_nursery() as nursery,
        ):
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, greet, listeners)
            port = listeners[0].socket.getsockname()[1]
            nat = functools.partial(
                trio.run_process,
                ["slirpvde", "-s", str(fabric.runtime / "nat"), "-D"],
                stdin=subprocess.DEVNULL,
                capture_stdout=True,
                capture_stderr=True,
            )
            nursery.start_soon(nat)
            await until(lambda: fabric.port("wan").carrier)
            for name in ("one", "two"):
                eth = fabric.port(name).opened.carries
                client = await start(
                    fabric, name, "busybox", "udhcpc", "-f", "-q", "-i", eth, "-s", str(script), "-t", "10",
                    "-T", "1",
                )  # fmt: skip
                await client.wait()
                while not leases(fabric, name):  # noqa: ASYNC110
                    await trio.sleep(0.02)
                (address,) = leases(fabric, name)
                assert address.startswith("10.0.2.")
                told = await run(fabric, name, "busybox", "nc", "-w", "30", GATEWAY, str(port))
                assert GREETING.decode() in str(told)
            assert leases(fabric, "one") != leases(fabric, "two")
            nursery.cancel_scope.cancel()
