"""Real traffic of two kernels in captures, and tshark as the judge of what was completed for a port."""

import subprocess
from pathlib import Path

import pytest

from nics.tap import Tap
from tests.kernel.lab import lab
from tests.kernel.test_tap import iperf3
from tests.needs import needs_tool, needs_tun
from vnet._native import describe_port
from vnet.capture import Capture, Selection

pytestmark = [needs_tun, needs_tool("tshark"), needs_tool("iperf3")]


def tshark(path: Path, *argv: str) -> list[str]:
    """Its lines; a warning is a failure."""
    argv = (
        "tshark",
        "-r",
        str(path),
        "-o",
        "tcp.check_checksum:TRUE",
        "-o",
        "udp.check_checksum:TRUE",
        *argv,
    )
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    assert not [line for line in done.stderr.splitlines() if not line.startswith("Running as user")]
    return done.stdout.splitlines()


@pytest.mark.parametrize("udp", [False, True])
async def test_what_leaves_by_a_port_without_offloads_is_right_to_the_last_bit(
    tmp_path: Path, udp: bool
) -> None:
    path = tmp_path / "out.pcapng"
    async with lab() as here:
        a, b = await here.guest(Tap(offload=True)), await here.guest(Tap(offload=False))
        for guest, name in ((a, "a.0"), (b, "b.0")):
            describe_port(here.engine, guest.port, name)
        selection = Selection((b.port,))
        flood = ["-b", "30M", "-n", "4M", *(["-u", "-l", "1400"] if udp else [])]
        async with Capture(here.engine, path, selection, clock="thread", direction="out") as capture:
            for address in (b.ip, b.ip6):
                await iperf3(b, a, "-c", address, *flood)
    stats = capture.stats()
    assert stats["lost"] == 0
    frames = tshark(path, "-T", "fields", "-e", "frame.interface_name", "-e", "frame.len", "-e", "ip.version")
    assert len(frames) == stats["written"]
    assert {frame.split("\t")[0] for frame in frames} == {"b.0"}
    # Cut as for a wire, and so many that they can't have been control traffic alone.
    lengths = [int(frame.split("\t")[1]) for frame in frames]
    assert max(lengths) <= 1514
    assert sum(length > 1400 for length in lengths) > 1000
    bad = " || ".join(f"{layer}.checksum.status == Bad" for layer in ("ip", "tcp", "udp"))
    assert tshark(path, "-Y", f"_ws.malformed || {bad}") == []
    good = "udp.checksum.status == Good" if udp else "tcp.checksum.status == Good"
    for version in ("ip", "ipv6"):
        assert len(tshark(path, "-Y", f"{version} && {good}")) > 500
