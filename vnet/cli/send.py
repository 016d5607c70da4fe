"""Send a frame in at a port, as if its guest had sent it, and say what the switch made of it.

FRAME is hex or a scapy expression. What an expression leaves out is filled in as the guest would: its own
addresses as sources, the MAC address of whoever has the destination's address. All rules apply: this is
how to see what a guest's frame would meet.

Examples:
  vnet send web.0 "IP(dst='10.0.10.12')/ICMP()"
  vnet send web "Ether(src='02:00:00:00:00:66')/IP(dst='10.0.10.12')/UDP(dport=53)" -c 10
  vnet send web.0 ffffffffffff02000000000188b5

Exit code 0 when it was forwarded, 1 when it was dropped.

"""

from __future__ import annotations

import argparse
import textwrap

from vnet.cli import words
from vnet.errors import BadInput

WIDTH = 80


def arguments(parser: argparse.ArgumentParser) -> None:
    """PORT FRAME [-c N] [--json]."""
    parser.add_argument("port", metavar="PORT", help="a port, or a guest for its first port")
    parser.add_argument("frame", metavar="FRAME", help="hex, or a scapy expression")
    parser.add_argument("-c", "--count", type=int, default=1, metavar="N", help="how many times (1)")
    words.fabric_argument(parser, option=True)
    words.json_argument(parser)


def run(given: argparse.Namespace) -> int:
    """The command."""
    from vnet import spelling

    if not 1 <= given.count <= 1_000_000:
        raise BadInput(f"--count: found {given.count}, expected 1 to 1000000")
    with words.client(given.name) as client:
        ports = client.call("status")["ports"]
        port = words.port_of(given.port, ports)
        frame, filled = spelling.spelled(given.frame, port, ports)
        sent = client.call("send", port=port["port"], frame=frame.hex(), count=given.count)
    if given.json:
        words.print_json(sent | {"frame": frame.hex()})
    elif sent["reason"]:
        print(f"dropped: {sent['reason']}: {sent['means']}")
    elif sent["to"]:
        print(f"forwarded in VLAN {sent['vlan']} to {sent['to']}")
    else:
        print(f"flooded in VLAN {sent['vlan']}")
        if filled:
            print(textwrap.fill(filled, WIDTH))
    return 1 if sent["reason"] else 0
