"""How the command line shows tables."""

from typing import Any

import pytest

from vnet.cli import words
from vnet.cli.status import foremost, machines, others_are, row


def test_a_mac_address_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    words.table(["mac"], [["02:61:e7:ab:4f:fd"], ["02:00:a:b:[bold]"]])
    assert capsys.readouterr().out.split() == ["mac", "02:61:e7:ab:4f:fd", "02:00:a:b:[bold]"]


def port(name: str, drops: dict[str, int] | None = None, *, up: bool = True) -> dict[str, Any]:
    return {
        "port": name,
        "kind": "tap",
        "network": "red",
        "trunk": [],
        "vlan": 10,
        "mac": "02:00:00:00:00:01",
        "ip": ["10.0.0.1", "fd00::1"],
        "carrier": up,
        "link": "up",
        "rx": {"frames": 1},
        "tx": {"frames": 2},
        "drops": drops or {},
    }


def test_where_there_is_little_room_ports_that_want_a_look_come_first() -> None:
    ports = [port(f"g{n}", {"tx-not-addressed": 99}) for n in range(20)]
    ports[7], ports[11], ports[13] = (
        port("few", {"runt": 1}),
        port("down", up=False),
        port("many", {"runt": 9}),
    )
    assert foremost(ports, 20) == ports
    shown = foremost(ports, 6)
    assert [each["port"] for each in shown] == ["down", "many", "few", "g0", "g1", "g2"]
    assert others_are(ports, shown) == "all well"
    assert others_are(ports, shown[:1]) == "2 of them down or dropping"


def test_a_row_is_one_line_where_it_is_narrow() -> None:
    told = port("g", {"runt": 3, "giant": 5})
    assert row(told)[5:] == ["10.0.0.1\nfd00::1", "up", "1", "2", "runt 3, giant 5"]
    assert row(told, narrow=True)[5:] == ["10.0.0.1 +1", "up", "1", "2", "giant 5 +1"]
    told["drops"] |= {"tx-not-addressed": 1000}
    assert row(told, narrow=True)[-1] == "giant 5 +2"


def test_what_became_of_a_machine_reads_well() -> None:
    def told(state: str, code: int | None = None, *said: str, **more: Any) -> list[str]:
        machine = {"guest": "vm", "state": state, "seconds": 3.0, "pid": None, "accel": None, "restarts": 0}
        return [*machines([machine | {"exit": code, "said": said} | more])][1:]

    assert told("running", pid=7, accel="tcg", restarts=2) == [
        "machine vm: running for 3 s, pid 7 (tcg), started again 2 times"
    ]
    assert told("stopped") == ["machine vm: stopped for 3 s"]
    assert told("shut down", 0) == ["machine vm: shut down 3 s ago"]
    assert told("killed", -9) == ["machine vm: was killed 3 s ago by signal 9"]
    assert told("killed") == ["machine vm: was killed 3 s ago with its keeper"]
    assert told("failed", 1, "qemu: could not open kernel file '/x/y': No such file or directory") == [
        "machine vm: failed 3 s ago, exit code 1: qemu: could not open kernel file",
        "  '/x/y': No such file or directory",
    ]


def test_one_is_no_plural() -> None:
    assert [words.several(number, "port") for number in (0, 1, 2)] == ["0 ports", "1 port", "2 ports"]
