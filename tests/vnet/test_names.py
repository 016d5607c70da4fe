"""What users import from `vnet`: all of it is there, under the names that its own lists have."""

from __future__ import annotations

import subprocess
import sys

import pytest

import vnet
from nics import stack_sockets
from nics.kinds import KINDS


@pytest.mark.parametrize("name", vnet.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(vnet, name).__name__ == name
    assert name in dir(vnet)


def test_the_lists_have_the_same_names() -> None:
    assert vnet.__all__ == sorted(vnet._HOMES)


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_every_kind_of_nic_is_exported(kind) -> None:
    name = kind.where.partition(":")[2]
    assert name in vnet.__all__
    assert getattr(vnet, name) is kind.load()


@pytest.mark.parametrize("name", ["TcpStream", "TcpListener", "UdpSocket", "PacketSocket"])
def test_what_hosts_give_is_exported(name: str) -> None:
    assert getattr(vnet, name) is getattr(stack_sockets, name)


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    homes = sorted(set(vnet._HOMES.values()))
    code = f"import sys, vnet; assert not set({homes}) & set(sys.modules), sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
