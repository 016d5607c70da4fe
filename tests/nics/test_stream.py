"""The `stream` door from Python: how it opens, what it refuses, and a guest on either side."""

import socket
import stat
from pathlib import Path

import attrs
import pytest

from nics.door import Place
from nics.errors import BadInput, NicError
from nics.stream import Stream


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"socket": "vm.sock", "role": "listener"}, "role: found 'listener', expected server or client"),
        ({"socket": "127.0.0.1:0", "role": "client"}, "can't connect to port 0"),
        ({"socket": "nohost:1"}, "socket: 'nohost:1'"),
    ],
)
def test_a_bad_description_is_refused_before_anything_is_touched(keys: dict[str, str], line: str) -> None:
    with pytest.raises(BadInput) as caught:
        Stream(**keys)
    assert line in str(caught.value)


async def test_a_server_listens_once_it_is_open_and_is_private(place: Place) -> None:
    opened = await Stream("vm.sock").open(place)
    path = place.runtime / "vm.sock"
    assert opened.carries == str(path)
    assert opened.door.kind == "stream"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    del opened
    assert not path.exists()


async def test_a_server_says_which_port_it_got(place: Place) -> None:
    opened = await Stream("127.0.0.1:0").open(place)
    host, port = opened.carries.split(":")
    with socket.create_connection((host, int(port)), 5):
        pass
    del opened


async def test_what_stands_in_the_way_is_named_with_a_remedy(place: Place) -> None:
    path = place.runtime / "vm.sock"
    path.write_text("precious")
    with pytest.raises(NicError) as caught:
        await Stream("vm.sock").open(place)
    assert str(caught.value) == (
        f"vm.0: {path} exists and is not a socket: remove it, or choose another path"
    )
    assert path.read_text() == "precious"

    with pytest.raises(NicError, match="make its folder first"):
        await Stream("vm.sock").open(attrs.evolve(place, runtime=Path("/nonexistent")))

    first = await Stream("other.sock").open(place)
    with pytest.raises(NicError, match=r"somebody else has the socket .*other\.sock open: stop it"):
        await Stream("other.sock").open(place)
    del first


async def test_a_leftover_of_a_crash_is_replaced(place: Place) -> None:
    path = str(place.runtime / "vm.sock")
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(path)
    opened = await Stream("vm.sock").open(place)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    del opened
