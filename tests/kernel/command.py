"""The command line, in a process of its own."""

from __future__ import annotations

import subprocess
import sys


def vnet(*words: str, code: int = 0) -> str:
    """Run a command; its output. Its exit code must be `code`."""
    done = subprocess.run(
        [sys.executable, "-m", "vnet", *words], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == code, f"vnet {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr
