"""What is right in itself and wrong beside something else, and what is wrong in the whole.

The topologies are in `golden/wrong.txt` with the lines that they are refused with.
"""

from __future__ import annotations

import textwrap

import pytest

from nics.errors import BadInput
from tests.vnet.topology import golden
from vnet.topology import Topology
from vnet.topology.problems import MOST

CASES: dict[str, str] = {
    "two networks with one VLAN": """
        name: t
        networks:
          red: {vlan: 10}
          blue: {vlan: 10}
        """,
    "more networks than VLANs": "name: t\nnetworks: {" + ", ".join(f"n{n}: {{}}" for n in range(4095)) + "}",
    "subnets that overlap": """
        name: t
        networks:
          red: {subnets: [10.0.0.0/16, fd00::/64, 10.0.10.0/24]}
        """,
    "gateways": """
        name: t
        networks:
          red: {subnets: [10.0.0.0/24], gateway: [10.0.1.1]}
          blue: {subnets: [10.0.0.0/24], gateway: 10.0.0.255}
          green: {subnets: [10.0.0.0/24], gateway: [10.0.0.1, 10.0.0.2]}
          grey: {gateway: 10.0.0.1}
        """,
    "an MTU too small for IPv6": """
        name: t
        networks:
          red: {subnets: [fd00::/64], mtu: 1000}
          blue: {subnets: [fd00::/64]}
        guests:
          a: {nics: [{network: blue, mtu: 1000}]}
        """,
    "an MTU larger than the network's": """
        name: t
        networks: {red: {}}
        guests: {a: {nics: [{network: red, mtu: 9000}]}}
        """,
    "guards": """
        name: t
        networks: {red: {subnets: [10.0.0.0/24]}, blue: {}}
        guests:
          a: {nics: [{network: red, guard: {allow: [{}]}}]}
          b: {nics: [{network: red, guard: {allow: [{ip: 10.0.0.7, network: blue}]}}]}
          c: {nics: [{trunk: [red], guard: {allow: [{mac: 02:00:00:00:00:07, network: red}]}}]}
          d: {nics: [{network: red, guard: on}]}
        """,
    "more static addresses than there is room for": """
        name: t
        networks: {red: {}, blue: {}}
        guests:
          a: {nics: [{network: red, static: true}]}
          b: {nics: [{trunk: [red, blue], static: true}]}
        switches: {s1: {fdb_limit: 2}}
        """,
    "a network that would mean all": "name: t\nnetworks: {all: {}}",
    "references": """
        name: t
        networks: {tenant-a: {}, tenant-b: {}}
        switches: {core: {}}
        guests:
          a: {nics: [{network: tenant-c}]}
          b: {nics: [{network: nonsense}]}
          c: {nics: [{trunk: [tenant-a, tenantb]}]}
          d: {nics: [{trunk: [tenant-a], native: tenant-b}]}
          e: {nics: [{network: tenant-a, switch: cor}]}
        """,
    "no networks": "name: t\nguests: {a: {nics: [{network: red}]}}",
    "access port and trunk": """
        name: t
        networks: {red: {subnets: [10.0.0.0/24]}}
        guests:
          a: {nics: [{network: red, trunk: [red]}]}
          b: {nics: [{}]}
          c: {nics: [{trunk: [red, red]}]}
          d: {nics: [{network: red, native: red}]}
          e: {nics: [{network: red, native_tagged: true}]}
          f: {nics: [{trunk: [red], ip: [10.0.0.9]}]}
        """,
    "NICs that do not fit their guest": """
        name: t
        networks: {red: {}}
        guests:
          a: {nics: [{network: red, nic: {kind: tap}}]}
          b: {kind: netns, nics: [{network: red, nic: {kind: stream, socket: b.sock}}]}
          c: {kind: netns, nics: [{network: red, nic: {kind: tap, netns: lab}}]}
          d: {kind: external, nics: [{network: red, nic: {kind: stack}}]}
          e: {kind: netns, nics: [{network: red, nic: {kind: tap, fd: 7}}]}
          f: {kind: external, nics: [{network: red, nic: {kind: tap, fd: 7, name: tap0}}]}
        """,
    "one MAC for two": """
        name: t
        networks: {red: {}, blue: {}}
        guests:
          a: {nics: [{network: red, mac: 02:00:00:00:00:0a}]}
          b: {nics: [{network: blue}, {network: blue, mac: 02-00-00-00-00-0A}]}
        """,
    "addresses": """
        name: t
        networks:
          red: {subnets: [10.0.0.0/24, fd00::/64]}
          blue: {subnets: [10.0.0.0/24]}
          bare: {}
        guests:
          a: {nics: [{network: red, ip: [10.0.0.11]}]}
          b: {nics: [{network: red, ip: 10.0.0.11}]}
          c: {nics: [{network: red, ip: [10.0.1.11]}]}
          d: {nics: [{network: red, ip: [10.0.0.0]}]}
          e: {nics: [{network: red, ip: [10.0.0.255]}]}
          f: {nics: [{network: red, ip: [10.0.0.1]}]}
          g: {nics: [{network: red, ip: [10.0.0.12/16]}]}
          h: {nics: [{network: red, ip: ["fd00::"]}]}
          i: {nics: [{network: bare, ip: [10.0.0.12]}]}
          j: {nics: [{network: red, ip: [10.0.0.13, 10.0.0.13]}]}
          k: {nics: [{network: blue, ip: [10.0.0.11]}]}
        """,
    "a subnet that is full": """
        name: t
        networks:
          red: {subnets: [10.0.0.0/30]}
          blue: {subnets: [10.0.0.0/32]}
        guests:
          a: {nics: [{network: red}]}
          b: {nics: [{network: red}]}
          c: {nics: [{network: blue}]}
          d: {nics: [{network: blue}]}
        """,
    "what only one can have": """
        name: t
        networks: {red: {}}
        guests:
          a: {kind: external, nics: [{network: red, nic: {kind: stream, socket: vm.sock}}]}
          b: {kind: external, nics: [{network: red, nic: {kind: vhost-user, socket: vm.sock}}]}
          c: {kind: external, nics: [{network: red, nic: {kind: tap, name: tap0}}]}
          d: {kind: external, nics: [{network: red, nic: {kind: tap, name: tap0}}]}
          e: {kind: external, nics: [{network: red, nic: {kind: tap, name: tap0, netns: lab}}]}
          f: {kind: netns, nics: [{network: red, nic: {kind: tap, name: tap0}}]}
          g:
            kind: netns
            nics:
              - {network: red, nic: {kind: tap, name: tap0}}
              - {network: red, nic: {kind: tap, name: tap0}}
          h: {kind: external, nics: [{network: red, nic: {kind: tap, fd: 7, queues: 2}}]}
          i: {kind: external, nics: [{network: red, nic: {kind: tap, fd: 8}}]}
        """,
    "keys of the thread without a thread": "name: t\nengine: {driver: trio, cpu: 1, poll: busy, wake: 50 us}",
    "links and expectations": """
        name: t
        networks: {red: {}}
        guests: {web: {nics: [{network: red}]}}
        switches: {a: {}, b: {}}
        links:
          - {ends: [a, c]}
          - {ends: [b, b]}
        expect:
          - {from: web, to: wbe, reach: true}
        uplinks:
          red: {nic: {kind: pipe}}
          all: {nic: {kind: packet, interface: eth0}, native: red, tagged: [red]}
        """,
    "rules of groups": """
        name: t
        networks: {red: {}}
        groups:
          web:
            ingress:
              - {ports: 80}
              - {protocol: icmp, ports: 80}
              - {protocol: tcp, type: 8}
              - {protocol: icmp, code: 0}
              - {prefix: 10.0.0.0/8, group: web}
              - {protocol: icmp, prefix: ["::/0"]}
              - {group: wbe}
            egress: {}
        guests: {a: {nics: [{network: red, groups: [web, dbb], private: community}]}}
        """,
    "private networks": """
        name: t
        networks: {red: {private: true}, blue: {proxy_arp: true}}
        guests:
          a: {nics: [{network: red, private: communal}]}
        """,
    "a key that is given twice": """
        name: t
        networks:
          red: {vlan: 10}
          blue: {}
          red: {vlan: 20}
        """,
    "YAML's pitfalls": """
        name: on
        seed: 0o17
        networks:
          red: {private: yes, subnets: [10.0.0.0/24]}
        guests:
          a: {nics: [{network: red, mac: 02:00:00:00:00:10, ip: 10.0.0.010}]}
        """,
    "not a mapping": "- a\n- b\n",
    "nothing but text": "hello",
    "one mistake in a network is not one in its guests": """
        name: t
        networks:
          red: {subnets: [10.0.0.1/24]}
        guests:
          a: {nics: [{network: red, ip: 10.0.0.11}]}
        """,
    "one misspelt section is one mistake": """
        name: t
        network: {red: {}}
        guests: {a: {nics: [{network: red}]}}
        """,
    "hostile names": 'name: t\nnetworks: {"\\e[31mred\\n": {}}\n"\\x07": 1\n',
    "machines": """
        name: t
        networks: {red: {}}
        guests:
          a: {kind: qemu, nics: [{network: red, nic: {kind: tap}}]}
          b: {kind: qemu, memory: 512MB, disks: [debian.qcow2], nics: [{network: red}]}
          c: {kind: qemu, initrd: i, append: quiet, nics: [{network: red}]}
          d: {kind: external, memory: 512 MiB, nics: [{network: red}]}
          e: {memory: 256 MiB, nics: [{network: red}]}
          f: {kind: qemu, args: [-m, 1G, -accel, kvm], nics: [{network: red}]}
        """,
    "a plug": """
        name: t
        networks: {red: {}}
        guests:
          a: {kind: external, nics: [{network: red, nic: {kind: vde, directory: d, port: 5}}]}
          b: {kind: external, nics: [{network: red, nic: {kind: vde, directory: d}}]}
          c: {kind: external, nics: [{network: red, nic: {kind: vde, directory: d}}]}
          d: {kind: external, nics: [{network: red, nic: {kind: vde, socket: d}}]}
        """,
}


def refused(text: str) -> str:
    with pytest.raises(BadInput) as error:
        Topology.from_text(text, "t.yaml")
    return str(error.value)


def test_wrong_topologies() -> None:
    told = []
    for title, case in CASES.items():
        text = textwrap.dedent(case).strip() + "\n"
        lines = refused(text)
        shown = text if len(text) < 2000 else text[:60].rstrip() + " ...\n"
        told.append(f"# {title}\n{textwrap.indent(shown, '  ')}\n{lines}\n\n")
    golden.check("wrong.txt", "".join(told))


def test_at_most_twenty_problems_are_told() -> None:
    guests = "".join(f"  g{n}: {{nics: [{{network: gone}}]}}\n" for n in range(50))
    lines = refused(f"name: t\nguests:\n{guests}").split("\n")
    assert len(lines) == MOST + 1
    assert lines[-1] == "t.yaml: and 30 more problems"
    assert lines[0].startswith("t.yaml:3:")


def test_more_ports_than_a_fabric_has() -> None:
    nics = ", ".join(["{network: red}"] * 64)
    guests = "".join(f"  g{n}: {{nics: [{nics}]}}\n" for n in range(65))
    lines = refused(f"name: t\nnetworks: {{red: {{}}}}\nguests:\n{guests}")
    assert "more than 4096 NICs" in lines
    assert lines.count("\n") == 0


def test_dicts_have_key_paths_only() -> None:
    with pytest.raises(BadInput) as error:
        Topology.from_dict({"name": "t", "networks": {"red": {"vlan": 0}}, "guests": {"a": {"nics": [{}]}}})
    assert error.value.args == (
        "networks.red.vlan: 0, expected a VLAN id from 1 to 4094",
        "guests.a.nics[0]: a NIC without network, expected network or trunk",
    )
