"""Bring a fabric down, leaving nothing behind: no TAP, namespace, socket or process.

What guests have by DHCP and what they sent and received (`vnet usage`) is kept for the next `vnet up`, in
$XDG_STATE_HOME/vnet/NAME (root: /var/lib/vnet/NAME).

What runs in netns guests ends, but for what has a network and a UTS namespace of its own, as containers do:
end these first.

Also cleans up after a fabric that was killed. Its log stays, and is log.old once there is another.

Examples:
  vnet down
  vnet down tenants

"""

from __future__ import annotations

import argparse
import contextlib
import time

from vnet.cli import words
from vnet.control.client import Silent
from vnet.errors import BadInput, VnetError


def arguments(parser: argparse.ArgumentParser) -> None:
    """[NAME]."""
    words.fabric_argument(parser)


def run(given: argparse.Namespace) -> int:
    """The command."""
    from vnet import daemon, runtime, state

    crashed = runtime.crashed()
    name = given.name
    if name is None and not runtime.running() and len(crashed) == 1:
        name = crashed[0]
    if name in crashed:
        with runtime.Runtime(name) as folder:
            for removed in folder.clean():
                print(f"removed the namespace {removed}")
        log = state.log_path(name)
        said = f" Its log stays: {log}" if log.exists() else ""
        print(f"{name} had crashed; what it left is cleaned up.{said}")
        return 0
    if name is None and not (runtime.running() or crashed or state.elsewhere()):
        raise BadInput("no fabric is running")
    name = runtime.the_one(name)
    folder_path = runtime.base() / name
    began = time.monotonic()
    try:
        with words.client(name) as client:
            pid = client.peer()
            # Machines are asked to shut down, all at once.
            patience = daemon.STOP_DEADLINE + client.call("down")
    except Silent as silent:
        raise VnetError(f"{silent}: kill it (-KILL), then vnet down {name}") from None
    deadline = began + patience
    # Its last figures are noted after its doors are closed: its name is let go of when all is done.
    while runtime.is_running(folder_path) or ((owner := state.owner(name)) and owner.pid == pid):
        if time.monotonic() > deadline:
            raise VnetError(
                f"{name} (process {pid}) is still busy after {patience:g} s: "
                f"kill {pid}, then vnet down {name}"
            )
        time.sleep(0.02)
    # A fabric in a sandbox can't remove this itself; there may be others in it.
    with contextlib.suppress(OSError):
        runtime.base().rmdir()
    print(f"{name} is down.")
    return 0
