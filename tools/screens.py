"""Screenshots of `vnet status` and `vnet top`, of a real fabric at 80x24: docs/status.png, docs/top.png.

python -m tools.screens docs

Needs rsvg-convert (Debian: librsvg2-bin) and DejaVu Sans Mono.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path
from typing import Any

COLUMNS, LINES = 80, 24
SEEN = 8.0
"""Seconds of traffic that the trend in `vnet top` shows."""
ORDINARY = 40


def lab() -> dict[str, Any]:
    """Two switches in a loop, two tenants, a machine that is not there, somebody who watches, a crowd."""
    guests: dict[str, Any] = {
        "web": {"nics": [{"network": "red", "switch": "left"}]},
        "db": {"nics": [{"network": "red", "switch": "right", "groups": ["server"]}]},
        "shop": {"nics": [{"network": "blue", "switch": "left"}]},
        "till": {"nics": [{"network": "blue", "switch": "right"}]},
        "vm": {
            "kind": "external",
            "nics": [{"network": "red", "switch": "left", "nic": {"kind": "stream", "socket": "vm.sock"}}],
        },
        "ids": {"nics": [{"switch": "left", "mirrors": ["watch"]}]},
    }
    for number in range(ORDINARY):
        guests[f"customer-{number}"] = {"nics": [{"network": "blue", "switch": "left"}]}
    return {
        "name": "lab",
        "switches": {"left": {"stp": "rstp"}, "right": {"stp": "rstp"}},
        "networks": {
            "red": {"vlan": 10, "subnets": ["10.0.10.0/24", "fd00:10::/64"]},
            "blue": {"vlan": 20, "subnets": ["10.0.20.0/24"]},
        },
        "groups": {"server": {"ingress": [{"protocol": "icmp"}, {"protocol": "tcp", "ports": 80}]}},
        "mirrors": {"watch": {"networks": ["red"], "to": "ids"}},
        "links": [{"name": name, "ends": ["left", "right"]} for name in ("one", "two")],
        "guests": guests,
    }


def typed(*words: str, folder: str, seconds: float) -> bytes:
    """What a command writes to a terminal until it ends, or `q` does it after so long."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.environ["TERM"] = "xterm-256color"
        os.execv(sys.executable, [sys.executable, "-m", "vnet", *words])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    told, end = b"", time.monotonic() + seconds
    while True:
        if time.monotonic() > end:
            os.write(terminal, b"q")
            end += 3600
        try:
            told += os.read(terminal, 65536)
        except OSError:  # its end: there is no other side any more
            break
    os.waitpid(process, 0)
    return told


def picture(told: str, file: Path) -> None:
    """Render what a terminal showed."""
    from rich.console import Console
    from rich.text import Text

    console = Console(width=COLUMNS, record=True, file=io.StringIO())
    console.print(Text.from_ansi(told.replace("\r\n", "\n")), no_wrap=True, crop=True)
    svg = console.export_svg(title="", font_aspect_ratio=0.602)
    svg = svg.replace("Fira Code", "DejaVu Sans Mono").replace("<text ", '<text xml:space="preserve" ')
    subprocess.run(["rsvg-convert", "-w", "1000", "-o", str(file)], input=svg.encode(), check=True)


def last_screen(told: bytes) -> str:
    """The last frame that `vnet top` drew."""
    frames = told.decode().split("\x1b[H")
    return max(frames[-3:], key=len).split("\x1b[?1049l")[0]


def play(docs: Path) -> None:
    """Both pictures, into a folder."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "lab.json").write_text(json.dumps(lab()))
        vnet = [sys.executable, "-m", "vnet"]
        subprocess.run([*vnet, "up", "lab.json", "-d"], cwd=folder, check=True)
        try:
            forged = "IP(src='10.0.10.99', dst='10.0.20.1')/UDP()"
            subprocess.run([*vnet, "send", "-n", "lab", "web", forged, "-c", "40"], cwd=folder, check=False)
            # In the background, as long as both are looked at.
            pairs = (("web", "db", "0.005"), ("till", "shop", "0.01"), ("customer-3", "shop", "0.05"))
            talks = [
                subprocess.Popen(
                    [*vnet, "ping", one, other, "-c", "100000", "-i", pause, "--name", "lab"],
                    stdout=subprocess.DEVNULL,
                )
                for one, other, pause in pairs
            ]
            top = typed("top", "lab", "-i", "0.5", folder=folder, seconds=SEEN)
            status = typed("status", "lab", folder=folder, seconds=60)
            for talk in talks:
                talk.terminate()
                talk.wait()
            picture(last_screen(top), docs / "top.png")
            picture(status.decode(), docs / "status.png")
        finally:
            subprocess.run([*vnet, "down", "lab"], cwd=folder, check=True)


if __name__ == "__main__":
    play(Path(sys.argv[1]))
