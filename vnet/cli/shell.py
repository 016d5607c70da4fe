"""A Python prompt in a fabric: its guests by name, scapy, and `await` at the top level.

With a file, its fabric is brought up for as long as the shell lasts, and `fabric` is a vnet.Fabric. Otherwise
the shell is attached to a running fabric: `fabric` has the same verbs, each awaited (`await fabric.drops()`).
Guests are there by their names, with `_` for `-`. Without a terminal, what standard input says is run.

Examples:
  vnet shell                                                attached to the one that runs
  vnet shell lab.yaml -c 'print(await web.ping(db))'
  echo 'print(await fabric.drops())' | vnet shell --name lab

Exit code 1 when what is run raises, 2 when it is no Python.

"""

from __future__ import annotations

import argparse
import functools
import logging
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from vnet.cli import words
from vnet.errors import single

if TYPE_CHECKING:
    from vnet.shell.console import House


def arguments(parser: argparse.ArgumentParser) -> None:
    """[FILE] [-n NAME] [-c CODE]."""
    parser.add_argument("file", metavar="FILE", nargs="?", help="a topology file, brought up for the shell")
    parser.add_argument("-c", "--code", metavar="CODE", help="run this instead of asking")
    words.fabric_argument(parser, option=True)


def run(given: argparse.Namespace) -> int:
    """The command."""
    import trio

    from vnet.stopping import exiting

    failed: list[BaseException] = []
    ready = threading.Event()
    place: list[tuple[House, dict[str, Any], Callable[[], None]]] = []

    async def live() -> None:
        from vnet.shell.console import House

        async with _names(given) as names, trio.open_nursery() as nursery:
            token = trio.lowlevel.current_trio_token()
            end = functools.partial(token.run_sync_soon, nursery.cancel_scope.cancel)
            place.append((House(nursery), names, end))
            ready.set()
            await trio.sleep_forever()

    def work() -> None:
        try:
            trio.run(live)
        except BaseException as error:
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=work, name="vnet-shell")
    code = 0
    with exiting():
        thread.start()
        try:
            ready.wait()
            if place:
                code = _use(given, place[0][0], place[0][1])
        finally:
            # What Ctrl-C found half up is taken down in order.
            ready.wait()
            if place:
                place[0][2]()
            thread.join()
    if failed:
        raise single(failed[0])
    return code


def _use(given: argparse.Namespace, house: House, names: dict[str, Any]) -> int:
    from vnet.shell import console

    if given.code is not None:
        return console.script(house, names, given.code, "<code>")
    if not sys.stdin.isatty():
        return console.script(house, names, sys.stdin.read(), "<stdin>")
    guests = ", ".join(names["__guests__"]) or "none"
    banner = f"vnet shell: fabric {names['fabric']!r}; guests: {guests}. `await` works here; Ctrl-D ends it."
    return console.interact(house, names, banner)


@asynccontextmanager
async def _names(given: argparse.Namespace) -> AsyncIterator[dict[str, Any]]:
    """What the shell begins with."""
    from vnet import runtime
    from vnet.fabric import Fabric
    from vnet.shell.remote import RemoteFabric

    if given.file is not None:
        async with Fabric.from_file(given.file) as fabric:
            yield _world(fabric, fabric.guests)
    else:
        remote = RemoteFabric(runtime.base() / runtime.the_one(given.name) / runtime.CONTROL)
        yield _world(remote, await remote.guests())


def _world(fabric: Any, guests: Mapping[str, Any]) -> dict[str, Any]:
    import trio

    import vnet

    names: dict[str, Any] = {}
    try:
        import scapy.all

        # It tells of this host's routes, which no guest has.
        logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
        names |= {name: thing for name, thing in vars(scapy.all).items() if not name.startswith("_")}
    except ImportError:
        pass  # it is an extra
    named = dict(_identifiers(guests.items()))
    return {**names, **named, "fabric": fabric, "trio": trio, "vnet": vnet, "__guests__": tuple(named)}


def _identifiers(guests: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, Any]]:
    for name, guest in guests:
        word = name.replace("-", "_")
        yield (f"_{word}" if word[0].isdigit() else word), guest
