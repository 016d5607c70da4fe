"""An Open vSwitch of one's own: its database and its daemon in a folder, no service of the system."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from tools.bench.processes import Missing, appear, running

_DAEMON = Path("/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk")
_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"


@attrs.frozen
class Ovs:
    """One that runs."""

    home: Path
    """Where it has its sockets."""
    process: subprocess.Popen[bytes]
    env: Mapping[str, str]

    def vsctl(self, *words: str) -> None:
        """Tell it something."""
        argv = ["ovs-vsctl", f"--db=unix:{self.home}/db.sock", "--timeout=60", *words]
        subprocess.run(argv, check=True, env=self.env, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def instance(folder: Path, settings: Mapping[str, str], *, ahead: bool = False) -> Iterator[Ovs]:
    """Start one, with `settings` in its `other_config`; it and the interfaces of its bridge `br0` are gone
    after the block.
    """
    if not _DAEMON.exists():
        raise Missing(f"no {_DAEMON}: apt install openvswitch-switch-dpdk")
    home = folder / "ovs"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    names = ("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR")
    env = {**os.environ, **dict.fromkeys(names, str(home))}
    subprocess.run(["ovsdb-tool", "create", str(home / "conf.db"), _SCHEMA], check=True, env=env)
    socket = home / "db.sock"
    database = ["ovsdb-server", str(home / "conf.db"), f"--remote=punix:{socket}"]
    database += [f"--unixctl={home}/dbctl", "--no-chdir"]
    switchd = [str(_DAEMON), f"unix:{socket}", f"--unixctl={home}/ctl", "--no-chdir"]
    try:
        with running(database, folder / "ovsdb.log", env=env) as first:
            appear([socket], first, folder / "ovsdb.log")
            argv = ["ovs-vsctl", f"--db=unix:{socket}", "--timeout=60", "--no-wait"]
            words = [f"other_config:{key}={value}" for key, value in settings.items()]
            subprocess.run([*argv, "init"], check=True, env=env)
            if words:
                subprocess.run([*argv, "set", "Open_vSwitch", ".", *words], check=True, env=env)
            log = folder / "ovs.log"
            with running(switchd, log, env=env, ahead=ahead) as process:
                appear([home / "ctl"], process, log, 60)
                yield Ovs(home, process, env)
    finally:
        for name in ("br0", "ovs-netdev"):
            subprocess.run(["ip", "link", "del", name], check=False, stderr=subprocess.DEVNULL)
