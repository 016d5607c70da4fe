"""MAC and IP addresses that follow from names and seed, and stay when others come and go.

Every NIC without an address has its own sequence of candidates, a permutation that only its name
and the seed decide. Mostly its first candidate is free and it gets that, whoever else is there.
When two NICs want the same address, who gets it must not depend on the order they are looked at,
or a guest added in the middle of a file would renumber those after it. So it is the stable
assignment of Gale and Shapley: NICs propose along their sequences, and an address keeps the
proposer that it ranks highest by a hash of the two. That has one outcome whatever the order, and
a newcomer moves at most the few whose candidates it takes, on average far less than one.

What somebody wrote down wins over everything: such addresses are no candidates.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TypeVar

from vnet.topology.model import Network
from vnet.topology.values import Address, Subnet

T = TypeVar("T", str, int)


class Full(Exception):
    """More NICs want an address than there are; `args[0]` is how many there are for them."""


def draw(*parts: object) -> int:
    """128 bits that follow from `parts` alone, the same on every machine and for ever."""
    text = "\0".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=16, person=b"vnet-address").digest())


def assign(candidates: Mapping[str, Iterator[T]], seed: int) -> dict[str, T]:
    """To each of the wishers one of its candidates, the best first, no two the same.

    There must be enough for all: a wisher whose candidates end is a KeyError of the result.
    """
    waiting = sorted(candidates)
    holder: dict[T, str] = {}
    while waiting:
        wisher = waiting.pop()
        choice = next(candidates[wisher], None)
        if choice is None:
            continue
        other = holder.get(choice)
        if other is None or draw(seed, choice, wisher) > draw(seed, choice, other):
            holder[choice] = wisher
            wisher = other or ""
        if wisher:
            waiting.append(wisher)
    return {wisher: choice for choice, wisher in holder.items()}


def macs(wishers: Iterable[str], taken: Collection[str], name: str, seed: int) -> dict[str, str]:
    """Locally administered unicast addresses, 02:..., for NICs of the fabric `name`."""

    def sequence(wisher: str) -> Iterator[str]:
        for n in range(1 << 32):
            digits = f"02{draw(seed, 'mac', name, wisher, n) % (1 << 40):010x}"
            mac = ":".join(digits[i : i + 2] for i in range(0, 12, 2))
            if mac not in taken:
                yield mac

    return assign({wisher: sequence(wisher) for wisher in wishers}, seed)


def interface_id(mac: str) -> int:
    """The modified EUI-64 interface identifier of `mac` (RFC 4291, appendix A)."""
    digits = mac.replace(":", "")
    return int(f"{digits[:6]}fffe{digits[6:]}", 16) ^ (1 << 57)


def hosts(subnet: Subnet) -> tuple[int, int]:
    """Where hosts' addresses begin in `subnet`, and how many there are."""
    first, count = int(subnet.network_address), subnet.num_addresses
    if subnet.prefixlen >= subnet.max_prefixlen - 1:  # RFC 3021, RFC 6164: all are hosts
        return first, count
    if subnet.version == 4:  # but the network's and the broadcast address
        return first + 1, count - 2
    # The first of IPv6 is the routers' anycast address (RFC 4291, 2.6.1), and the last 128 of a
    # subnet that has so many are anycast too (RFC 2526).
    return first + 1, count - 1 - (128 if subnet.prefixlen <= 120 else 0)


def not_a_host(address: Address, subnet: Subnet) -> str | None:
    """What `address` is in `subnet` when no host can have it (RFC 3021: a /31 has hosts only)."""
    if subnet.prefixlen >= subnet.max_prefixlen - 1:
        return None
    if address == subnet.network_address:
        return "the network address" if subnet.version == 4 else "the routers' anycast address"
    if subnet.version == 4 and address == subnet.broadcast_address:
        return "the broadcast address"
    return None


def gateways(network: Network) -> dict[Subnet, Address]:
    """The gateway of each subnet that has one."""
    if network.gateway is not None:
        return {
            subnet: gateway for subnet in network.subnets for gateway in network.gateway if gateway in subnet
        }
    first = {}
    for subnet in network.subnets:
        wide = subnet.prefixlen < subnet.max_prefixlen - 1
        if subnet.prefixlen < subnet.max_prefixlen:  # a /32 has no room for one
            first[subnet] = subnet.network_address + (1 if wide else 0)
    return first


def ips(
    wishers: Mapping[str, str], subnet: Subnet, taken: Collection[Address], name: str, seed: int
) -> dict[str, Address]:
    """Addresses in `subnet` for NICs, given with their MACs. Raises Full.

    In an IPv6 /64 it is what a host makes of its MAC by itself (RFC 4862), so that an address is
    the same whether we set it or the guest makes it from a router advertisement. The draw does not
    depend on the subnet: a guest that moves between subnets of one size keeps its host part.
    """
    first, count = hosts(subnet)
    reserved = {int(address) for address in taken if address.version == subnet.version}
    free = count - sum(first <= address < first + count for address in reserved)
    if len(wishers) > free:
        raise Full(free)
    eui64 = subnet.version == 6 and subnet.prefixlen == 64

    def sequence(wisher: str) -> Iterator[int]:
        if eui64 and (own := int(subnet.network_address) + interface_id(wishers[wisher])) not in reserved:
            yield own
        start = draw(seed, "ip", name, wisher) % count
        step = _coprime(draw(seed, "step", name, wisher) % count, count)
        for n in range(count):
            choice = first + (start + n * step) % count
            if choice not in reserved:
                yield choice

    chosen = assign({wisher: sequence(wisher) for wisher in wishers}, seed)
    address = type(subnet.network_address)
    return {wisher: address(choice) for wisher, choice in chosen.items()}


def _coprime(step: int, count: int) -> int:
    """The first number from `step` on that has no factor in common with `count`.

    Steps of that size around a ring of `count` visit all of it.
    """
    step = max(step, 1)
    while math.gcd(step, count) != 1:
        step += 1
    return step
