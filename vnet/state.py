"""The state folder of one fabric: what outlives it, and the log while it runs.

`$XDG_STATE_HOME/vnet/NAME/`; without the variable `/var/lib/vnet/NAME/` for root and
`~/.local/state/vnet/NAME/` for others, as the XDG Base Directory Specification has it. 0700.
"""

from __future__ import annotations

import os
from pathlib import Path

from vnet.runtime import private

LOG = "log"


def base() -> Path:
    """The folder of all fabrics of this user."""
    if (home := os.environ.get("XDG_STATE_HOME", "")).startswith("/"):
        return Path(home) / "vnet"
    if os.geteuid() == 0:
        return Path("/var/lib/vnet")
    return Path("~/.local/state/vnet").expanduser()


def folder(name: str) -> Path:
    """That of the fabric `name`, made if it is not there. Raises VnetError when it can't be ours alone."""
    path = base() / name
    private(path.parent, "XDG_STATE_HOME")
    private(path, "XDG_STATE_HOME")
    return path


def log_path(name: str) -> Path:
    """Where a fabric in the background writes its log; it stays when it ended badly."""
    return base() / name / LOG
