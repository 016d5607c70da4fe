"""Every port mode against every kind of tag, as a table that can be read.

The form (port, VLAN, priority -> who gets it, and how) is that of Open vSwitch's test "VLAN handling";
ports and rows are our own.
"""

from __future__ import annotations

import pytest

from switch import Access, Trunk
from tests.switch.bench import BROADCAST, A, Bench, c_tag, frame

PORTS = {
    1: (Trunk({10, 12}), {}),
    2: (Access(10), {}),
    3: (Access(10), {"priority_tags": True}),
    4: (Access(12), {}),
    5: (Trunk({12}, native=10, native_tagged=True), {}),
    6: (Trunk({12}, native=10), {}),
    7: (Trunk({10}, native=12), {"priority_tags": True}),
    8: (Trunk({12}), {}),
}

# A tag is written VIDpPRIORITY; `-` is none. Right of the arrow: by port, the tag of the copy.
TABLE = """
1 -       -> untagged-not-allowed
1 0       -> untagged-not-allowed
1 0p5     -> untagged-not-allowed
1 10      -> 2:- 3:-   5:10   6:- 7:10
1 10p5    -> 2:- 3:0p5 5:10p5 6:- 7:10p5
1 11      -> vlan-not-member
1 12      -> 4:- 5:12   6:12   7:-   8:12
1 12p5    -> 4:- 5:12p5 6:12p5 7:0p5 8:12p5
1 4095    -> vlan-not-member

2 -       -> 1:10   3:-   5:10   6:- 7:10
2 0       -> 1:10   3:-   5:10   6:- 7:10
2 0p5     -> 1:10p5 3:0p5 5:10p5 6:- 7:10p5
2 10      -> tag-not-allowed
2 10p5    -> tag-not-allowed
2 12      -> tag-not-allowed
2 4095    -> tag-not-allowed

3 -       -> 1:10   2:- 5:10   6:- 7:10
3 0p5     -> 1:10p5 2:- 5:10p5 6:- 7:10p5
3 10      -> tag-not-allowed

4 -       -> 1:12   5:12   6:12   7:-   8:12
4 0p5     -> 1:12p5 5:12p5 6:12p5 7:0p5 8:12p5
4 12      -> tag-not-allowed

5 -       -> 1:10   2:- 3:-   6:- 7:10
5 0       -> 1:10   2:- 3:-   6:- 7:10
5 0p5     -> 1:10p5 2:- 3:0p5 6:- 7:10p5
5 10      -> 1:10   2:- 3:-   6:- 7:10
5 10p5    -> 1:10p5 2:- 3:0p5 6:- 7:10p5
5 11      -> vlan-not-member
5 12      -> 1:12   4:- 6:12   7:-   8:12
5 12p5    -> 1:12p5 4:- 6:12p5 7:0p5 8:12p5

6 -       -> 1:10   2:- 3:-   5:10   7:10
6 0p5     -> 1:10p5 2:- 3:0p5 5:10p5 7:10p5
6 10      -> 1:10   2:- 3:-   5:10   7:10
6 10p5    -> 1:10p5 2:- 3:0p5 5:10p5 7:10p5
6 12p5    -> 1:12p5 4:- 5:12p5 7:0p5 8:12p5
6 13      -> vlan-not-member

7 -       -> 1:12   4:- 5:12   6:12   8:12
7 0p5     -> 1:12p5 4:- 5:12p5 6:12p5 8:12p5
7 10      -> 1:10   2:- 3:-   5:10   6:-
7 10p5    -> 1:10p5 2:- 3:0p5 5:10p5 6:-
7 12      -> 1:12   4:- 5:12   6:12   8:12
7 4095    -> vlan-not-member

8 -       -> untagged-not-allowed
8 0p5     -> untagged-not-allowed
8 10      -> vlan-not-member
8 12      -> 1:12   4:- 5:12   6:12   7:-
8 12p5    -> 1:12p5 4:- 5:12p5 6:12p5 7:0p5
"""

ROWS = [line.split(maxsplit=3) for line in TABLE.splitlines() if line]


def tag_bytes(written: str) -> bytes:
    """`10p5`, `10` or `-` as bytes."""
    if written == "-":
        return b""
    vid, _, priority = written.partition("p")
    return c_tag(int(vid), int(priority or 0))


@pytest.mark.parametrize(
    ("ingress", "tag", "arrow", "wanted"), ROWS, ids=[f"{row[0]}-{row[1]}" for row in ROWS]
)
def test_row(bench: Bench, ingress: str, tag: str, arrow: str, wanted: str) -> None:
    for number, (mode, options) in PORTS.items():
        bench.port(number, mode, **options)
    result = bench.send(int(ingress), frame(BROADCAST, A, tag_bytes(tag)))
    if ":" not in wanted:
        assert (result.reason, result.out) == (wanted, {})
        return
    copies = dict(word.split(":") for word in wanted.split())
    assert result.out == {int(port): frame(BROADCAST, A, tag_bytes(copy)) for port, copy in copies.items()}


def test_every_mode_sends_and_receives() -> None:
    """The table forgets no port."""
    assert {int(row[0]) for row in ROWS} == set(PORTS)
    assert all(any(f"{port}:" in row[3] for row in ROWS) for port in PORTS)
