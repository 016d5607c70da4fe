"""Boot the tiny Linux of the tests in this terminal, to plug it into something by hand.

    .venv/bin/python -m tools.guest vm           plugged into guest `vm` of the running fabric
    .venv/bin/python -m tools.guest -nic none    with these words for QEMU
    .venv/bin/python -m tools.guest --topology   don't boot it: print a topology file whose guest `vm` it is

Needs qemu-system-x86, busybox-static and the kernel: `make needs` says what is missing. A root shell
comes up on the console; Ctrl-A X ends QEMU.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys

from tools.guest import image

TOPOLOGY = """\
# A tiny Linux that vnet starts, beside an in-process guest. On its console (vnet console vm):
#   ip address add 10.0.0.10/24 dev eth0; ip link set eth0 up; ping 10.0.0.11
name: tiny
engine: {{keep: [qemu]}}   # `vnet apply` may start it anew with more memory, say, or another beside it
networks: {{lan: {{subnets: [10.0.0.0/24]}}}}
guests:
  vm:
    kind: qemu
    accel: tcg
    kernel: {kernel}
    initrd: {initrd}
    append: console=ttyS0 quiet net.ifnames=0 vnet.name=vm
    nics: [{{network: lan, ip: 10.0.0.10}}]
  web: {{nics: [{{network: lan, ip: 10.0.0.11}}]}}
"""


def plug(guest: str) -> list[str]:
    """The words for QEMU that `vnet connect` has for a guest. Ends with its error."""
    done = subprocess.run(
        [sys.executable, "-m", "vnet", "connect", guest], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(done.returncode)
    return shlex.split(done.stdout.replace("\\\n", " "), comments=True)


def main() -> None:
    """Become QEMU."""
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        sys.exit("there is no qemu-system-x86_64; Debian has it in qemu-system-x86")
    given = sys.argv[1:]
    if len(given) == 1 and not given[0].startswith("-"):
        given = plug(given[0])
    try:
        boot = image.build().words()
    except image.ImageError as error:
        sys.exit(str(error))
    if given == ["--topology"]:
        built = image.build()
        print(TOPOLOGY.format(kernel=built.kernel, initrd=built.initramfs), end="")
        return
    words = [qemu, "-m", "192", "-nographic", "-nodefaults", "-serial", "mon:stdio", *boot]
    os.execv(qemu, [*words, "-append", "console=ttyS0 quiet net.ifnames=0 vnet.name=vm", *given])


if __name__ == "__main__":
    main()
