"""A hostile machine beside two namespaces that are busy: nothing of what it sends reaches them.

Its administrator has real tools (arping, a DHCP server) and, by socat, puts any frame on its card. It is
the virtual machine of `tests/kernel/test_hostile.py`, and attacks with the frames of
`tests/kernel/test_guard.py`.
"""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import LLC, STP, Dot1Q, Dot3, Ether

import vnet
from tests.kernel.test_guard import ALICE, BOB, MALLORY, attacks, ears, run, topology
from tests.kernel.test_hostile import busy, nobody_was_bothered, until
from tests.needs import needs_qemu, needs_root, needs_tool
from tests.qemu import lab

pytestmark = [needs_qemu, needs_root, pytest.mark.deadline(300)]

SIZE = 400
"""Bytes of each frame, so that socat can tell them apart in one file; an offer has some 290."""
TIMES = 100
"""How often it sends each of them: some two thousand frames, one right behind the other."""
UDHCPD = """\
start 10.9.7.100
end 10.9.7.120
interface eth0
lease_file /tmp/leases
pidfile /tmp/udhcpd.pid
"""


def document() -> dict[str, Any]:
    """Alice and bob are namespaces; mallory is a machine."""
    words = topology()
    mallory = words["guests"]["mallory"]
    mallory["kind"] = "external"
    mallory["nics"][0]["nic"] = {"kind": "stream", "socket": "mallory.sock"}
    return words


@needs_tool("iperf3")
@needs_tool("busybox")
async def test_nothing_of_it_reaches_the_victims() -> None:
    with lab.runtime() as folder:
        async with (
            vnet.Fabric.from_dict(document(), runtime=folder) as fabric,
            ears(fabric, "alice") as heard,
            lab.plugged(fabric, "mallory") as vm,
        ):
            assert await vm.ping(ALICE), "mallory is not even there"
            mac, alice, bob = (fabric.guests[name].mac for name in ("mallory", "alice", "bob"))
            bad = attacks(mac, bob)
            bad["tag-not-allowed"] = [Ether(src=mac, dst=alice) / Dot1Q(vlan=20) / IP(dst=ALICE) / UDP()]
            bad["link-local"] = [Dot3(src=mac, dst="01:80:c2:00:00:00") / LLC() / STP()]
            marks = {bytes(frame).ljust(SIZE, b"\0") for frames in bad.values() for frame in frames}
            assert {len(mark) for mark in marks} == {SIZE}
            await vm.upload(b"".join(marks), "/tmp/frames")
            await vm.upload(UDHCPD.encode(), "/tmp/udhcpd.conf")
            await vm.run(f"for n in $(seq {TIMES}); do cat /tmp/frames; done > /tmp/flood")
            async with busy(fabric):
                await vm.run(f"socat -b {SIZE} -u OPEN:/tmp/flood INTERFACE:eth0")
                for reason, frames in bad.items():
                    # Its own queue may have no room for all.
                    await until(fabric, reason, len(frames) * TIMES // 10)
                # What it sent before is in when this is answered, and all that is counted then is new.
                assert await vm.ping(ALICE), "mallory floods no more"
                told = fabric.port("mallory").counters()["drops"]
                await vm.run(
                    f"ip address add {BOB}/32 dev eth0; arping -U -c 2 -w 3 -I eth0 {BOB}", check=False
                )
                await until(fabric, "guard-arp", told["guard-arp"] + 1)
                await vm.run("touch /tmp/leases; udhcpd -S /tmp/udhcpd.conf")
                at = str(fabric.port("alice").opened.carries)
                asks = ("busybox", "udhcpc", "-i", at, "-n", "-q", "-t", "2", "-T", "2", "-s", "/bin/true")
                assert "lease of" not in await run(fabric, "alice", *asks, check=False)
                await until(fabric, "guard-dhcp-server", told["guard-dhcp-server"] + 1)
            assert not marks & set(heard)
            nobody_was_bothered(fabric, heard)
            assert MALLORY in await vm.run("ip address"), "it lives, and may go on"
