"""Filters: libpcap's instructions mean the same to the engine as to libpcap."""

import ctypes
import random

import pytest

from vnet._native import BpfProgram
from vnet.capture import FilterError, compile_filter
from vnet.capture.bpf import _Instruction, _library
from vnet.errors import VnetError

EXPRESSIONS = """
tcp
udp port 53
tcp port 80 or tcp port 443
tcp[tcpflags] & (tcp-syn|tcp-fin) != 0
tcp portrange 1000-40000
host 10.0.0.1
src net 10.0.0.0/8 and dst host 10.0.0.2
ip6
ip6 and udp
ip6 host fd00::1
ip6 proto 58
net fd00::/16
arp
arp host 10.0.0.1
ether host 02:00:00:00:00:01
ether src 02:00:00:00:00:01 or ether broadcast
ether multicast and not ether broadcast
ether proto 0x88cc
vlan
vlan 10
vlan 10 and tcp
vlan and vlan and ip
vlan 10 and vlan 20 and udp
icmp
icmp[icmptype] == icmp-echo
icmp6 and ip6[40] == 128
ip[8] < 10
ip[6:2] & 0x1fff != 0
ip multicast
ip proto 47 or ip proto 50
greater 200
less 64
len >= 60 and len <= 100
len % 3 == 1
len / 7 * 7 == len
(len << 2) - (len << 1) > 200
ether[0] & 1 == 0 and ip[2:2] > 100
tcp[13] = 2
tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420
udp[4:2] > udp[0:2]
ether[12:2] ^ 0x800 = 0
ether[100:4] | 0xf0000000 > 0xf8000000
-len > 0xffffff00
not (tcp or udp or arp)
port 53 and not host 10.0.0.2
src port 1000 or dst port 1000
sctp or vrrp
stp
ether[14] = 0x42 and ether[16] = 3
mpls
pppoes
""".strip().splitlines()


def _address(random: random.Random, ipv6: bool) -> bytes:
    last = random.choice([1, 2, 3, 255])
    if ipv6:
        return bytes([0xFD, 0, *[0] * 13, last])
    return bytes([random.choice([10, 10, 192, 224]), 0, 0, last])


def _transport(random: random.Random) -> tuple[int, bytes]:
    protocol = random.choice([6, 6, 17, 17, 1, 58, 132, 47, 112])
    ports = b"".join(random.choice([22, 53, 80, 443, 1000, 50000]).to_bytes(2) for _ in range(2))
    rest = bytearray(random.randbytes(random.choice([random.randrange(60), 300])))
    if protocol in (1, 58):
        return protocol, random.choice([b"\x08\0", b"\0\0", b"\x80\0"]) + rest
    if protocol == 6 and len(rest) > 10:
        words = random.randrange(5, 9)
        rest[8] = words << 4
        rest[9] = random.choice([2, 16, 24, 1])
        if random.random() < 0.3:
            rest[words * 4 - 4 :] = b"GET / HTTP/1.1"
    return protocol, ports + rest


def packet(random: random.Random) -> bytes:
    """A frame that is mostly well-formed, so that filters get beyond the first test."""
    macs = b"".join(
        random.choice([b"\xff" * 6, b"\x01\x00\x5e\0\0\1", b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"]) for _ in "ds"
    )
    tags = b"".join(
        random.choice([b"\x81\x00", b"\x88\xa8", b"\x91\x00"]) + random.choice([10, 20, 4000]).to_bytes(2)
        for _ in range(random.choice([0, 0, 0, 1, 2]))
    )
    protocol, payload = _transport(random)
    match random.randrange(8):
        case 0 | 1 | 2:
            options = random.randbytes(4 * random.choice([0, 0, 0, 1, 5]))
            head = bytearray(random.randbytes(20))
            head[0] = 0x45 + len(options) // 4
            head[2:4] = (20 + len(options) + len(payload)).to_bytes(2)
            if random.random() < 0.8:
                head[6:8] = b"\x40\x00"
            head[9] = protocol
            head[12:20] = _address(random, False) + _address(random, False)
            body = b"\x08\x00" + head + options + payload
        case 3 | 4:
            head = bytearray(b"\x60\0\0\0" + len(payload).to_bytes(2) + bytes([protocol, 64]))
            if random.random() < 0.2:
                payload = bytes([protocol, 0, *random.randbytes(6)]) + payload
                head[6] = random.choice([0, 44, 60])
            body = b"\x86\xdd" + head + _address(random, True) + _address(random, True) + payload
        case 5:
            body = b"\x08\x06" + random.randbytes(8) + b"\2\0\0\0\0\1" + _address(random, False)
            body += b"\0" * 6 + _address(random, False)
        case 6:
            body = len(payload).to_bytes(2) + b"\x42\x42\x03" + payload
        case _:
            body = random.choice([b"\x88\xcc", b"\x88\x47", b"\x88\x64"]) + random.randbytes(40)
    whole = macs + tags + body
    return whole[: random.randrange(len(whole))] if random.random() < 0.1 else whole


def libpcap_says(instructions: list[tuple[int, int, int, int]], data: bytes, length: int) -> int:
    """libpcap's own evaluation."""
    array = (_Instruction * len(instructions))(*(_Instruction(*one) for one in instructions))
    pcap = _library()
    pcap.bpf_filter.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint, ctypes.c_uint)
    pcap.bpf_filter.restype = ctypes.c_uint
    return pcap.bpf_filter(array, data, length, len(data))


def test_every_expression_gives_what_libpcap_gives() -> None:
    source = random.Random(1)
    packets = [packet(source) for _ in range(3000)]
    for text in EXPRESSIONS:
        instructions = compile_filter(text)
        program = BpfProgram(instructions)
        accepted = 0
        for data in packets:
            said = program.run(data)
            assert said == libpcap_says(instructions, data, len(data)), (text, data.hex())
            accepted += said > 0
        assert 0 < accepted < len(packets), text


ALU = [operation << 4 | source | 4 for operation in range(11) for source in (0, 8) if operation != 8] + [0x84]
JUMPS = [operation << 4 | source | 5 for operation in range(1, 5) for source in (0, 8)]
LOADS = [0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0xB1]
OTHERS = [0x00, 0x01, 0x60, 0x61, 0x80, 0x81, 0x02, 0x03, 0x07, 0x87]


def _program(random: random.Random) -> list[tuple[int, int, int, int]]:
    """Any valid program. Memory is written first: what libpcap reads from unwritten words is chance."""
    prologue = [(0x00, 0, 0, random.randrange(100)), *((0x02, 0, 0, word) for word in range(16))]
    length = random.randrange(1, 40)
    body = []
    for at in range(length):
        left = length - at
        number = random.choice([random.randrange(70), random.getrandbits(32), random.randrange(1, 32)])
        match random.randrange(4):
            case 0:
                code = random.choice(ALU)
                constant = not code & 8
                if constant and code >> 4 in (6, 7):
                    number = random.randrange(32)
                elif constant and code >> 4 in (3, 9):
                    number = max(number, 1)
                body.append((code, 0, 0, number))
            case 1:
                away = [random.randrange(left) for _ in range(2)]
                jump = (random.choice(JUMPS), *away, number)
                body.append(random.choice([jump, jump, (0x05, 0, 0, random.randrange(left))]))
            case 2:
                body.append((random.choice(LOADS), 0, 0, random.choice([number, random.randrange(60)])))
            case _:
                code = random.choice(OTHERS)
                body.append((code, 0, 0, number % 16 if code in (0x60, 0x61, 0x02, 0x03) else number))
    return [*prologue, *body, random.choice([(0x16, 0, 0, 0), (0x06, 0, 0, random.getrandbits(32))])]


def test_random_programs_give_what_libpcap_gives() -> None:
    source = random.Random(2)
    verdicts = set()
    for _ in range(4000):
        instructions = _program(source)
        program = BpfProgram(instructions)
        for _ in range(3):
            data = source.randbytes(source.randrange(80))
            length = len(data) + source.choice([0, 0, 1000])
            said = libpcap_says(instructions, data, length)
            # Bytes that were on the wire but are not here: the engine asks for them, libpcap rejects.
            assert program.run(data, length) == said, (instructions, data.hex())
            verdicts.add(said)
    assert len(verdicts) > 500


def test_libpcap_s_own_words_come_up() -> None:
    with pytest.raises(FilterError, match=r"filter 'tcp prot 80': .*syntax error"):
        compile_filter("tcp prot 80")
    with pytest.raises(FilterError, match="null character"):
        compile_filter("tcp\0")
    with pytest.raises(FilterError, match="expression rejects all packets"):
        compile_filter("tcp and udp and arp")
    assert BpfProgram(compile_filter("")).run(b"x") > 0


def test_without_libpcap_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vnet.capture.bpf._NAMES", ("libnowhere.so.1",))
    _library.cache_clear()
    try:
        with pytest.raises(VnetError, match="apt-get install libpcap"):
            compile_filter("tcp")
    finally:
        _library.cache_clear()


def test_a_program_that_could_do_harm_is_refused() -> None:
    for instructions in (
        [],
        [(0x05, 0, 0, 0xFFFFFFFF), (6, 0, 0, 0)],
        [(0x34, 0, 0, 0), (6, 0, 0, 0)],
        [(9, 0, 0, 0)],
    ):
        with pytest.raises(ValueError, match="filter"):
            BpfProgram(instructions)


def test_what_is_accepted_libpcap_would_accept_and_it_ends() -> None:
    """Programs with a few wrong words in them: a code, a jump, a constant, a place in memory."""
    source = random.Random(3)
    validate = _library().bpf_validate
    validate.argtypes = (ctypes.c_void_p, ctypes.c_int)
    fates = {"accepted": 0, "refused": 0}
    for _ in range(6000):
        instructions = _program(source)[source.choice([0, 0, 17]) :]
        for _ in range(source.randrange(1, 4)):
            at = source.randrange(len(instructions))
            code, true, false, k = instructions[at]
            instructions[at] = source.choice(
                [
                    (source.getrandbits(16), true, false, k),
                    (source.randrange(256), true, false, k),
                    (code, source.randrange(256), source.randrange(256), k),
                    (code, true, false, source.choice([0, 16, 32, 1 << 31, 0xFFFFFFFF])),
                ]
            )
        try:
            program = BpfProgram(instructions)
        except ValueError:
            fates["refused"] += 1
            continue
        fates["accepted"] += 1
        array = (_Instruction * len(instructions))(*(_Instruction(*one) for one in instructions))
        assert validate(array, len(instructions)) == 1, instructions
        program.run(source.randbytes(source.randrange(80)), source.randrange(2000))
    assert min(fates.values()) > 1000, fates
