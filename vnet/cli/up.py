"""Bring the fabric of a topology file up.

In the foreground it stays until Ctrl-C (or SIGTERM, or `vnet down`, or the terminal is closed), and
everything is gone again then. With -d it runs in the background, and this command returns once every
port is up.

Its sockets are in $XDG_RUNTIME_DIR/vnet/NAME, without that variable in /tmp/vnet-UID/NAME (root:
/run/vnet/NAME); a shell in which the variable says something else does not find it there.

Once its doors are open, the process gives up what they do not need: capabilities, files, system
calls (`engine: {sandbox: ...}` in the file, or --sandbox). Kinds of guests and NICs that may come
later although the file has none yet are named by `engine: {keep: [netns]}`. `vnet status` shows
what is left, `vnet doctor` what this kernel can enforce.

Examples:
  vnet up tenants.yaml
  vnet up tenants.yaml -d && vnet status
  vnet up tenants.yaml -d --sandbox strict
  vnet up 'topology:leaf-spine?spines=2&leaves=4&hosts=3'

"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys

from vnet.cli import words
from vnet.errors import BadInput
from vnet.sandbox.needs import MODES


def arguments(parser: argparse.ArgumentParser) -> None:
    """FILE [-d] [--sandbox MODE]."""
    parser.add_argument("file", metavar="FILE", help="a topology file, YAML or JSON; -; topology:NAME[?...]")
    parser.add_argument("-d", "--detach", action="store_true", help="return once it is up")
    parser.add_argument(
        "--sandbox", choices=MODES, metavar="MODE", help="default, strict or off; else the file's"
    )


def run(given: argparse.Namespace) -> int:
    """The command."""
    import trio

    from vnet import carrier, daemon, runtime, state, uplinks
    from vnet.machines import look
    from vnet.topology.reader import with_places

    topology, place = with_places(given.file)
    if lacking := [f"{place(p.path)}: {p.line('', None)}" for p in look.problems(topology.guests)]:
        raise BadInput(*lacking)
    if topology.name in runtime.running():
        raise runtime.Busy(
            f"a fabric named {topology.name} is running: bring it down (vnet down {topology.name}), "
            f"change it (vnet apply {given.file}) or use another name"
        )
    if given.detach:
        daemon.spawn(topology, given.sandbox)
        resolved = topology.resolve()
        for line in (*carrier.blind(None, resolved), *(line for _, line in uplinks.rings(None, resolved))):
            print(line, file=sys.stderr)
        print(f"{topology.name} is up: {_size(topology)}. See it: vnet status {topology.name}")
        return 0
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")

    def ready(_fabric: object) -> None:
        print(f"{topology.name} is up: {_size(topology)}. Ctrl-C brings it down.", flush=True)

    with state.owning(topology.name):
        trio.run(daemon.serve, topology, ready, given.sandbox)
    with contextlib.suppress(OSError):  # the terminal may be what went
        print(f"{topology.name} is down.", file=sys.stderr)
    return 0


def _size(topology: object) -> str:
    guests = topology.guests  # type: ignore[attr-defined]
    ports = sum(len(guest.nics) for guest in guests.values())
    return f"{words.several(len(guests), 'guest')}, {words.several(ports, 'port')}"
