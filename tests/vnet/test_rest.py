"""`engine.wake`: how long CPUs may take to wake up, asked of the kernel while a fabric runs."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import trio

import vnet
from tests.needs import needs, needs_root
from vnet import doctor, rest

LAB = {"name": "awake", "engine": {"driver": "thread", "wake": "7 us"}}


def asked() -> int:
    """What the kernel holds to now, in microseconds."""
    (value,) = struct.unpack("=i", rest.DEVICE.read_bytes()[:4])
    return int(value)


@needs_root
@needs("power management", lambda: None if rest.DEVICE.exists() else f"no {rest.DEVICE}")
async def test_it_is_asked_for_as_long_as_the_fabric_runs() -> None:
    before = asked()
    assert before > 7, "somebody else asks for less"
    async with vnet.Fabric.from_dict(LAB):
        assert asked() == 7
        async with vnet.Fabric.from_dict({"name": "more", "engine": {"driver": "thread", "wake": "0 s"}}):
            assert asked() == 0
        assert asked() == 7
    assert asked() == before


async def test_where_that_is_not_allowed_nothing_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "DEVICE", tmp_path / "none")
    with pytest.raises(
        vnet.BadInput, match=r"^engine\.wake: .*/none: No such file .*, expected a file that may"
    ):
        async with vnet.Fabric.from_dict(LAB, runtime=tmp_path / "run"):
            pass
    assert not (tmp_path / "run").exists()


async def test_in_virtual_time_nobody_waits_for_a_cpu(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "DEVICE", tmp_path / "none")
    lab = {**LAB, "engine": {"wake": "7 us"}}
    async with vnet.Fabric.from_dict(lab) as fabric:
        assert fabric.status()["engine"]["driver"] == "trio"


@pytest.mark.parametrize(
    ("microseconds", "state", "detail"),
    [
        (2, "ok", "C6 is the deepest, and takes 2 us to leave"),
        (
            290,
            "optional",
            "C6 is the deepest, and takes 290 us to leave: the first frame after silence waits",
        ),
    ],
)
def test_the_doctor_tells_what_the_kernel_knows(
    microseconds: int, state: str, detail: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, (name, latency, off) in enumerate(
        [("C1", 1, 0), ("C6", microseconds, 0), ("C8", microseconds + 100, 1)]
    ):
        folder = tmp_path / f"state{number}"
        folder.mkdir()
        for key, value in (("name", name), ("latency", latency), ("disable", off)):
            (folder / key).write_text(f"{value}\n")
    (tmp_path / "state9").mkdir()
    monkeypatch.setattr(doctor, "is_virtual", lambda: False)
    monkeypatch.setattr(rest, "STATES", tmp_path)
    finding = doctor.wake()
    assert (finding.state, finding.what) == (state, "CPU rest")
    assert finding.detail.startswith(detail)
