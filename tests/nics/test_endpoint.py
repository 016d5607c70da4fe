"""Addresses of sockets, as people write them."""

from pathlib import Path

import attrs
import pytest

from nics import endpoint
from nics.door import Place
from nics.endpoint import Endpoint
from nics.errors import BadInput, NicError
from vnet import _native


@pytest.mark.parametrize(
    ("text", "family", "port"),
    [
        ("vm1.sock", "unix", 0),
        ("/run/vm1.sock", "unix", 0),
        ("@vm1", "unix", 0),
        ("@127.0.0.1:5000", "unix", 0),
        ("./127.0.0.1:5000", "unix", 0),
        ("a:b", "unix", 0),
        ("127.0.0.1:5000", "IPv4", 5000),
        ("[::1]:5000", "IPv6", 5000),
        ("[fe80::1%eth0]:5000", "IPv6", 5000),
    ],
)
def test_every_form(text: str, family: str, port: int) -> None:
    parsed = Endpoint.parse(text)
    assert (parsed.family, parsed.port) == (family, port)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "socket: is empty: "),
        ("@", "socket: '@' has no name behind it: "),
        ("a\0b", "socket: 'a\\x00b' holds a NUL character: "),
        ("1.2.3.4:65536", "socket: '1.2.3.4:65536': port 65536 is not in 0..65535"),
        ("1.2.3.4:" + "9" * 5000, "socket: '1.2.3.4:99"),
        ("localhost:80", "socket: 'localhost:80': 'localhost' is not an IPv4 address or an IPv6 address"),
        ("::1:80", "socket: '::1:80': '::1' is not an IPv4 address or an IPv6 address in brackets"),
        ("[1.2.3.4]:80", "socket: '[1.2.3.4]:80': '[1.2.3.4]' is not"),
        ("x" * 108, "socket: is 108 bytes long, and a unix socket's path has at most 107"),
        (7, "socket: found 7: expected a path, @name, 127.0.0.1:5000 or [::1]:5000"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(text: object, line: str) -> None:
    @attrs.frozen
    class Description:
        socket: str = attrs.field(validator=endpoint.valid)

    with pytest.raises(BadInput) as caught:
        Description(text)  # type: ignore[arg-type]
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_native_code_agrees(place: Place) -> None:
    for text in ("x", "@x", "a:b", "./1.2.3.4:5", "/x", "127.0.0.1:5", "[::1]:5"):
        _native.stream_door(Endpoint.parse(text).at(place), "client")
    for text in ("", "@", "a\0b", "1.2.3.4:65536", "localhost:80", "::1:80", "[1.2.3.4]:80", "x" * 108):
        with pytest.raises(ValueError):
            Endpoint.parse(text)
        with pytest.raises(NicError):
            _native.stream_door(text, "client")


def test_relative_paths_lie_in_the_runtime_folder(place: Place) -> None:
    assert Endpoint.parse("vm1.sock").at(place) == str(place.runtime / "vm1.sock")
    for text in ("/x/vm1.sock", "@vm1", "127.0.0.1:5", "[::1]:5"):
        assert Endpoint.parse(text).at(place) == text


def test_a_path_that_gets_too_long_there_is_refused_with_a_remedy(place: Place) -> None:
    deep = attrs.evolve(place, runtime=Path("/" + "d" * 100))
    with pytest.raises(
        NicError, match="at most 107 are possible: choose a shorter name, or a shorter runtime"
    ):
        _native.stream_door(Endpoint.parse("vm1.sock").at(deep), "server")
