"""The same flows as nfdump's collector hears of them: another reader of IPFIX than Wireshark."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import trio.testing

import vnet
from tests.needs import needs_tool
from tests.vnet.flows.test_flows import Collector, collector, exporting, talk
from tests.vnet.test_capture import run

__all__ = ["collector"]


def ready(nfcapd: subprocess.Popen[str], word: str) -> None:
    """Wait until it has said so."""
    assert nfcapd.stdout is not None
    while word not in (line := nfcapd.stdout.readline()):
        assert line, "nfcapd ended"


def waiting(port: int) -> bool:
    """Whether there is something in the UDP socket that has this port."""
    rows = [line.split() for line in Path("/proc/self/net/udp").read_text().splitlines()[1:]]
    return any(row[1].endswith(f":{port:04X}") and not row[4].endswith(":00000000") for row in rows)


def collect(datagrams: list[bytes], folder: Path) -> str:
    """Have nfcapd take the datagrams in; what it says in the end."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = ["nfcapd", "-b", "127.0.0.1", "-p", str(port), "-w", str(folder)]
    with (
        subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as nfcapd,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out,
    ):
        killer = threading.Timer(50, nfcapd.kill)
        killer.start()
        try:
            ready(nfcapd, "Startup nfcapd")
            out.connect(("127.0.0.1", port))
            for datagram in datagrams:
                out.send(datagram)
            ready(nfcapd, "New ipfix exporter")
            # What it has taken in it reads to the end; what is in its socket then is lost.
            while nfcapd.poll() is None and waiting(port):
                time.sleep(0.001)
            nfcapd.send_signal(signal.SIGTERM)
            return nfcapd.communicate()[0]
        finally:
            killer.cancel()


@needs_tool("nfcapd")
async def test_nfdump_counts_the_same(
    autojump_clock: trio.testing.MockClock,
    tmp_path: Path,
    collector: Collector,
) -> None:
    async with vnet.Fabric.from_dict(exporting(collector)) as fabric:
        await talk(fabric)
        await trio.sleep(20)
        flows = fabric.status()["flows"]
    said = collect(collector.took(), tmp_path)
    assert f"Flows: {flows['exported']}, " in said, said
    assert "Sequence Errors: 0, Bad Packets: 0" in said, said
    told = run("nfdump", "-R", tmp_path, "-q", "-o", "fmt:%pr,%sa,%da,%pkt,%byt,%in,%svln,%ismc")
    rows = {tuple(cell.strip() for cell in line.split(",")) for line in told.splitlines()}
    wanted = {
        # Ten echoes each way: 14 bytes of Ethernet are not of the flow.
        ("ICMP", "10.0.0.1", "10.0.0.2", "10", "840", "1", "10", "02:00:00:00:00:01"),
        ("ICMP", "10.0.0.2", "10.0.0.1", "10", "840", "2", "10", "02:00:00:00:00:02"),
        ("ICMP6", "fd00::1", "fd00::2", "10", "1040", "1", "10", "02:00:00:00:00:01"),
        ("ICMP6", "fd00::2", "fd00::1", "10", "1040", "2", "10", "02:00:00:00:00:02"),
        # What the guard drops is no IP, and has no address but its station's.
        ("0", "0.0.0.0", "0.0.0.0", "3", "0", "3", "10", "02:00:00:00:00:66"),
    }
    assert wanted <= rows, rows
