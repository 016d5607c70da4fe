"""Commands as an ordinary user, for tests that themselves run as root."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
UID = 65534


def as_nobody(folder: Path, *argv: str) -> list[str]:
    """The command line that runs `argv` as the user nobody, who may read this Python and repository.

    Where they lie behind a closed door (a pyenv in root's home), they are opened in a mount namespace
    of the command's own; `folder` is where to build that.
    """
    if os.geteuid() != 0:
        return list(argv)
    wanted = [Path(prefix).resolve() for prefix in (sys.base_prefix, sys.prefix, REPOSITORY)]
    doors = {door: [path for path in wanted if door in path.parents] for door in map(_closed, wanted) if door}
    script = ["set -e", "mount --make-rprivate /"]
    for number, (door, paths) in enumerate(doors.items()):
        kept = [(path, folder / f"kept-{number}-{i}") for i, path in enumerate(paths)]
        for path, keep in kept:
            script.append(f"mkdir {shlex.quote(str(keep))}; mount --bind {path} {shlex.quote(str(keep))}")
        script.append(f"mount -t tmpfs -o mode=755 none {door}")
        for path, keep in kept:
            script.append(f"mkdir -p {path}; mount --bind {shlex.quote(str(keep))} {path}")
    drop = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--", *argv]
    script.append(f"exec {shlex.join(drop)}")
    return ["unshare", "--mount", "sh", "-c", "\n".join(script)]


def _closed(path: Path) -> Path | None:
    """The outermost folder above `path` that others can't pass."""
    return next((up for up in reversed(path.parents) if not up.stat().st_mode & 0o001), None)
