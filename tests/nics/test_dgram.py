"""The `dgram` door from Python: how it opens and what it refuses."""

import socket
import stat

import pytest

from nics.dgram import Dgram
from nics.door import Place
from nics.errors import BadInput, NicError


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({}, "local and remote: both are missing, at least one is needed"),
        ({"local": "239.1.1.1:5"}, "local: '239.1.1.1:5' is a multicast address, which belongs in remote"),
        (
            {"local": "vm.sock", "remote": "127.0.0.1:5"},
            "local and remote: 'vm.sock' is unix and '127.0.0.1:5' is IPv4, expected both unix",
        ),
        ({"local": "127.0.0.1:5", "remote": "[::1]:5"}, "is IPv4 and '[::1]:5' is IPv6"),
        ({"remote": "127.0.0.1:0"}, "remote: '127.0.0.1:0': nobody can be at port 0"),
        ({"remote": "somewhere:80"}, "remote: 'somewhere:80': 'somewhere' is not an IPv4 address"),
    ],
)
def test_a_bad_description_is_refused_before_anything_is_touched(keys: dict[str, str], line: str) -> None:
    with pytest.raises(BadInput) as caught:
        Dgram(**keys)
    assert line in str(caught.value)


async def test_a_unix_door_is_a_private_file(place: Place) -> None:
    opened = await Dgram(local="vnet.sock", remote="vm.sock").open(place)
    path = place.runtime / "vnet.sock"
    assert opened.carries == str(path)
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert opened.door.kind == "dgram"
    del opened
    assert not path.exists()


async def test_a_udp_door_says_which_port_it_got(place: Place) -> None:
    opened = await Dgram(local="127.0.0.1:0").open(place)
    host, port = opened.carries.split(":")
    with socket.socket(type=socket.SOCK_DGRAM) as other, pytest.raises(OSError, match="in use"):
        other.bind((host, int(port)))
    with pytest.raises(NicError, match=r"`ss -tulnp` names who uses the port"):
        await Dgram(local=opened.carries).open(place)
    del opened


async def test_a_leftover_of_a_crash_is_replaced_and_a_living_socket_is_not(place: Place) -> None:
    path = str(place.runtime / "vnet.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(path)
        with pytest.raises(NicError, match="somebody else has the socket"):
            await Dgram(local="vnet.sock").open(place)
    opened = await Dgram(local="vnet.sock").open(place)
    del opened
