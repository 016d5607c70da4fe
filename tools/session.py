"""A session with a fabric, played and written down: docs/where-did-my-packet-go.md.

python -m tools.session > docs/where-did-my-packet-go.md
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

LAB = """\
name: session
networks:
  red: {subnets: [10.0.10.0/24]}
  blue: {subnets: [10.0.20.0/24]}
groups:
  server: {ingress: [{protocol: tcp, ports: 80}]}
guests:
  web: {nics: [{network: red, ip: 10.0.10.11}]}
  db: {nics: [{network: red, ip: 10.0.10.12, groups: [server]}]}
  shop: {nics: [{network: blue, ip: 10.0.20.11}]}
  till: {nics: [{network: blue, ip: 10.0.20.12}]}
"""
TEXT = """\
# Where did my packet go?

What follows is a real session: `python -m tools.session` plays it and writes this page. The fabric is

```yaml
{lab}```
"""
PARTS = (
    ("`web` gets no answer from `db`, and nobody knows why.", ("ping web db -c 1",)),
    (
        "**What was lost?** `vnet drops` has the port, the reason, and the last frame that it happened to:"
        " here the groups of `db` let nothing in but TCP to port 80.",
        ("drops", "drops --why group-ingress"),
    ),
    (
        "**What went past?** The flight recorder kept it, though nobody was capturing then; `-w x.pcapng`"
        " instead of `--decode` is for Wireshark.",
        ("capture db --past all -f icmp --decode",),
    ),
    (
        "**What would become of a frame?** `vnet explain` asks the code that forwards, and with `--file` says"
        " which line of the file is behind each step. So an echo ends at `db`'s groups, and a connection to"
        " port 80 passes.",
        (
            "explain web \"IP(dst='10.0.10.12')/ICMP()\" --file lab.yaml",
            "explain web \"IP(dst='10.0.10.12')/TCP(dport=80)\" --file lab.yaml",
        ),
    ),
    (
        "**A guest that is not what it says.** A frame from an address that is not `web`'s never"
        " gets past its port.",
        ("send web \"IP(src='10.0.10.99', dst='10.0.10.12')/UDP()\"", "drops"),
    ),
    (
        "**And who could reach whom at all?** `vnet check` proves it from the file: `shop` is another"
        " tenant.",
        ("check lab.yaml", "check lab.yaml --why web shop"),
    ),
)


def play() -> Iterator[str]:
    """The page, in pieces. Raises CalledProcessError when the fabric does not come up."""
    yield TEXT.format(lab=LAB)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "lab.yaml").write_text(LAB)
        vnet = [sys.executable, "-m", "vnet"]
        subprocess.run([*vnet, "up", "lab.yaml", "-d"], cwd=folder, check=True, capture_output=True)
        try:
            for text, commands in PARTS:
                yield f"\n{text}\n\n```console\n"
                for command in commands:
                    yield f"$ vnet {command}\n{_output([*vnet, *_words(command)], folder)}"
                yield "```\n"
        finally:
            subprocess.run([*vnet, "down", "session"], cwd=folder, check=True, capture_output=True)


def _words(command: str) -> list[str]:
    import shlex

    words = shlex.split(command)
    # Others may run beside it.
    if words[0] in ("capture", "explain", "ping", "send"):
        return [*words, "--name", "session"]
    return [*words, "session"] if words == ["drops"] else words


def _output(command: list[str], folder: str) -> str:
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True, timeout=60, check=False)
    return "".join(f"{line.rstrip()}\n" for line in (done.stdout + done.stderr).splitlines())


if __name__ == "__main__":
    sys.stdout.write("".join(play()))
