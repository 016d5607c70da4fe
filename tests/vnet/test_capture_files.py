"""Captures as others read them: several files, segments, and checksums that are right."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import vnet
from nics.errors import BadInput
from tests.needs import needs_tool
from tests.vnet.test_capture import BROADCAST, A, Cable, run
from vnet.capture.ring import Limits, Ring, limits

CHECKED = tuple(
    word for protocol in ("ip", "tcp", "udp") for word in ("-o", f"{protocol}.check_checksum:TRUE")
)


SIZE = 12_000
"""Enough that a guest makes super-frames, in its 256 bytes."""


def read(file: str | Path, *words: str) -> list[str]:
    """What tshark says of a file, a line each; it must have nothing to complain of."""
    done = subprocess.run(["tshark", "-r", str(file), *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    complaints = [line for line in done.stderr.splitlines() if "Running as user" not in line]
    assert not complaints, complaints
    return done.stdout.splitlines()


def test_the_words_of_b() -> None:
    assert limits([]) is None
    assert limits(["filesize:10", "files:3"]) == Limits(bytes=10_000, files=3)
    assert limits(["duration:1.5", "packets:7"]) == Limits(nanos=1_500_000_000, packets=7)
    assert limits(["filesize:2 MiB", "duration:1 min"]) == Limits(bytes=2 << 20, nanos=60_000_000_000)
    for wrong in (["size:1"], ["filesize"], ["packets:0"], ["packets:x"], ["files:3"], ["packets:1"] * 2):
        with pytest.raises(BadInput, match=r"^-b "):
            limits(wrong)


@pytest.mark.parametrize(
    ("word", "most", "expected"),
    [
        ("packets", "1000000000000000", "a whole number from 1 to 1000000000000000"),
        ("files", "1000000000000000", "a whole number from 1 to 1000000000000000"),
        ("filesize", "1024 GiB", "kB, or a size such as 10 MiB, at most 1024 GiB"),
        ("duration", "365 d", "seconds, or a time such as 1 min, at most 365 d"),
    ],
)
def test_numbers_of_b_have_a_bound(word: str, most: str, expected: str) -> None:
    assert limits(["packets:1", f"{word}:{most}"][word == "packets" :]) is not None
    for beyond in (99_999_999_999_999_999_999, 10**400):
        with pytest.raises(BadInput) as caught:
            limits([f"{word}:{beyond}"])
        assert str(caught.value) == f"-b {word}:{beyond}: expected {expected}"


@needs_tool("tshark")
@needs_tool("capinfos")
async def test_each_file_of_a_ring_stands_by_itself(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    cable = Cable()
    ring = Ring(tmp_path / "ring.pcapng", Limits(packets=10, files=2))
    descriptor = ring.start()
    async with cable.capture(descriptor) as capture:
        os.close(descriptor)
        for number in range(16):
            cable.pipes[0].send(BROADCAST + A + b"\x88\xb5" + number.to_bytes(1, "big") * 46)
            cable.turn()
            cable.empty()
    kept = await trio.to_thread.run_sync(ring.finish)
    assert capture.stats()["written"] == 48
    assert [Path(path).name[:11] for path in kept] == ["ring_00004_", "ring_00005_"]
    assert sorted(str(path) for path in tmp_path.iterdir()) == kept  # noqa: ASYNC240
    assert [len(read(path)) for path in kept] == [10, 8]
    for path in kept:
        assert "Number of interfaces in file: 3" in run("capinfos", path)
    # The first file's packets are gone, the last one is there, at each of its ports by its name.
    last = read(kept[1], "-T", "fields", "-e", "frame.interface_name", "-e", "eth.src")
    assert {line.split("\t")[0] for line in last} == {"a.0", "b.0", "trunk.0"}


async def test_a_ring_that_can_t_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected a folder that files may be made in"):
        Ring(tmp_path / "nowhere" / "x.pcapng", Limits(packets=1)).start()
    ring = Ring(tmp_path / "x.pcapng", Limits(packets=1))
    descriptor = ring.start()
    os.write(descriptor, b"\x01" * 64)
    os.close(descriptor)
    with pytest.raises(vnet.VnetError, match="a block with a length that none has"):
        await trio.to_thread.run_sync(ring.finish)


async def _transfer(path: Path, subnet: str = "10.0.0.0/24", **options: Any) -> None:
    """Some megabytes over TCP, between guests that leave segments and checksums to NICs."""
    nics = {
        "a": {"network": "lan"},
        # Far away: only then is there more to send at once than a frame takes.
        "b": {"network": "lan", "impair": {"delay": "5 ms"}},
    }
    document = {
        "name": "files",
        "networks": {"lan": {"subnets": [subnet]}},
        "guests": {name: {"nics": [nic]} for name, nic in nics.items()},
    }
    async with vnet.Fabric.from_dict(document) as fabric, fabric.capture(path, "a", **options):
        a, b = fabric.guests["a"], fabric.guests["b"]
        listener = await b.listen_tcp(80)
        async with trio.open_nursery() as nursery:

            async def take() -> None:
                stream = await listener.accept()
                while await stream.receive_some(65536):
                    pass
                await stream.aclose()

            nursery.start_soon(take)
            stream = await a.open_tcp_stream(b, 80)
            await stream.send_all(bytes(range(256)) * SIZE)
            await stream.send_eof()
            while await stream.receive_some(100):
                pass
            await stream.aclose()
        await fabric.past(path.with_name("past.pcapng"), "a")


@needs_tool("tshark")
@pytest.mark.parametrize("subnet", ["10.0.0.0/24", "fd00::/64"])
@pytest.mark.parametrize("segment", [False, True])
async def test_wireshark_finds_every_checksum_right(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, segment: bool, subnet: str
) -> None:
    file = tmp_path / "x.pcapng"
    await _transfer(file, subnet, segment=segment)
    lengths = [int(line) for line in read(file, "-T", "fields", "-e", "frame.len", "-Y", "tcp")]
    assert (max(lengths) <= 1514) == segment, "super-frames are there, or what a wire would see of them"
    states = read(file, *CHECKED, "-T", "fields", "-e", "tcp.checksum.status", "-Y", "tcp")
    assert states
    assert set(states) == {"1"}, "1 is good"
    assert not read(file, *CHECKED, "-Y", "_ws.malformed || ip.checksum.status == 0")
    # Of the past there are beginnings: of a part nobody can tell, but of what is all there.
    past = tmp_path / "past.pcapng"
    whole = "tcp && frame.cap_len == frame.len"
    states = read(past, *CHECKED, "-T", "fields", "-e", "tcp.checksum.status", "-Y", whole)
    assert len(states) > 20
    assert set(states) == {"1"}
    assert not read(past, *CHECKED, "-Y", "tcp.checksum.status == 0")


@needs_tool("tshark")
async def test_segments_make_the_same_stream(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    file = tmp_path / "x.pcapng"
    await _transfer(file, segment=True, direction="in")
    wrong = "tcp.analysis.retransmission || tcp.analysis.out_of_order || tcp.analysis.lost_segment"
    assert not read(file, "-Y", wrong)
    fields = ("-T", "fields", "-e", "tcp.len", "-e", "tcp.flags.push", "-Y", "tcp.len > 0")
    rows = [line.split("\t") for line in read(file, *fields)]
    assert sum(int(length) for length, _ in rows) == 256 * SIZE
    # Only the last segment of a super-frame may say PSH.
    assert sum(push in ("1", "True") for _, push in rows) < len(rows) / 4
    ids = read(file, "-T", "fields", "-e", "ip.id", "-Y", "ip && tcp.len > 0")
    assert len(set(ids)) > 5, "they are numbered within a super-frame"
