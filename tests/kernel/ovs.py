"""An Open vSwitch in a namespace, in user space: a partner for link aggregation that is not of this house."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs

from nics.netns import Namespace

SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"


@attrs.frozen
class Ovs:
    """It has one bridge, `br0`."""

    namespace: Namespace
    home: Path

    async def run(self, *argv: str, check: bool = True) -> str:
        """A command of its own, or any other, in its namespace."""
        names = ("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR")
        settings = [f"{name}={self.home}" for name in names]
        return await self.namespace.run("env", *settings, *argv, check=check)

    async def vsctl(self, *words: str) -> str:
        return await self.run("ovs-vsctl", f"--db=unix:{self.home}/db.sock", "--timeout=20", *words)

    async def appctl(self, *words: str) -> str:
        return await self.run("ovs-appctl", f"--target={self.home}/ctl", *words)

    async def interfaces(self, column: str) -> dict[str, Any]:
        """A column of the interfaces, by name."""
        found = json.loads(await self.vsctl("--format=json", f"--columns=name,{column}", "list", "Interface"))
        return dict(found["data"])


@asynccontextmanager
async def ovs(namespace: Namespace, folder: Path) -> AsyncIterator[Ovs]:
    """Start one. It is gone after the block."""
    made = Ovs(namespace, folder)
    await made.run("ovsdb-tool", "create", f"{folder}/conf.db", SCHEMA)
    try:
        daemon = ("--detach", "--no-chdir", "--log-file")
        database = (f"{folder}/conf.db", f"--remote=punix:{folder}/db.sock", f"--unixctl={folder}/dbctl")
        await made.run("ovsdb-server", *database, f"--pidfile={folder}/db.pid", *daemon)
        await made.vsctl("--no-wait", "init")
        socket = (f"unix:{folder}/db.sock", f"--unixctl={folder}/ctl", f"--pidfile={folder}/switch.pid")
        await made.run("ovs-vswitchd", *socket, *daemon)
        await made.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev")
        yield made
    finally:
        for name in ("switch", "db"):
            _end(folder / f"{name}.pid")


def _end(pidfile: Path) -> None:
    if pidfile.exists():
        # A daemon that died before has taken its file along.
        os.kill(int(pidfile.read_text()), 15)
