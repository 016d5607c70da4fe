"""The control socket's words: cut, read and told, whatever comes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnet.control import protocol
from vnet.errors import BadInput, NicError, VnetError


@given(st.lists(st.binary(min_size=1).filter(lambda b: b"\n" not in b and b.strip()), max_size=8), st.data())
def test_lines_come_out_whole_however_they_are_cut(lines, data):
    stream = b"".join(line + b"\n" for line in lines)
    reader, out = protocol.Lines(), []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        out += reader.feed(stream[:cut])
        stream = stream[cut:]
    assert out == lines


def test_a_line_without_end_is_refused():
    reader = protocol.Lines()
    reader.feed(b"x" * protocol.LINE_MAX)
    with pytest.raises(protocol.ProtocolError):
        reader.feed(b"xx")


def test_a_long_line_in_small_pieces():
    reader = protocol.Lines()
    piece = b"x" * 512
    for _ in range(protocol.LINE_MAX // len(piece)):
        assert reader.feed(piece) == []
    (line,) = reader.feed(b"\ny")
    assert line == piece * (protocol.LINE_MAX // len(piece))
    assert reader.feed(b"z\n") == [b"yz"]


@given(st.binary())
def test_any_line_is_a_call_or_refused(line):
    try:
        call = protocol.parse_call(line)
    except protocol.ProtocolError:
        return
    assert isinstance(call.id, int)


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b"{}",
        b'{"id": "1", "call": "x"}',
        b'{"id": 1}',
        b'{"id": 1, "call": 2}',
        b'{"id": 1, "call": "x", "with": []}',
        b"[" * 100_000,
        b'{"id": 1, "with": ' + b"[" * 100_000,
    ],
)
def test_what_is_no_call_is_refused(line):
    with pytest.raises(protocol.ProtocolError):
        protocol.parse_call(line)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BadInput("a"), BadInput),
        (NicError("a", "b"), VnetError),
        (VnetError("c"), VnetError),
        (OSError("d"), VnetError),
    ],
)
def test_errors_arrive_as_what_they_were(error, kind):
    document = protocol.error_document(3, error)
    assert document["id"] == 3
    raised = protocol.raised(document["error"])
    assert isinstance(raised, kind)
    assert str(raised) == str(error)
