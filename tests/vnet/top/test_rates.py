"""Rates from samples, and the screens made of them."""

from __future__ import annotations

import io

import attrs
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from vnet.top import ORDERS, History, Rate, line, screen
from vnet.top.rates import total
from vnet.top.screen import BARS, sparkline


def port(name, *, rx=(0, 0), tx=(0, 0), drops=None, carrier=True, link="up"):
    return {
        "port": name,
        "guest": name.split(".")[0],
        "kind": "tap",
        "network": "red",
        "trunk": [],
        "carrier": carrier,
        "link": link,
        "rx": {"frames": rx[0], "bytes": rx[1]},
        "tx": {"frames": tx[0], "bytes": tx[1]},
        "drops": drops or {},
    }


def status(*ports):
    return {"name": "lab", "ports": list(ports)}


def test_the_first_sample_has_no_rates():
    (rate,) = History().add(10.0, status(port("a.0", rx=(1000, 64_000), drops={"runt": 5})))
    assert (rate.rx_frames, rate.bits, rate.drops, rate.dropped) == (0, 0, 0, 5)


def test_rates_are_differences_by_the_second():
    history = History()
    history.add(10.0, status(port("a.0", rx=(1000, 64_000), drops={"runt": 5})))
    (rate,) = history.add(
        12.0, status(port("a.0", rx=(3000, 192_000), tx=(10, 600), drops={"runt": 5, "giant": 4}))
    )
    assert (rate.rx_frames, rate.rx_bits) == (1000, 512_000)
    assert (rate.tx_frames, rate.tx_bits) == (5, 2400)
    assert (rate.drops, rate.reason, rate.dropped) == (2, "giant", 9)
    assert rate.trend == (514_400,)


def test_a_port_that_came_meanwhile_counts_from_nothing():
    history = History()
    history.add(0.0, status(port("a.0")))
    _, rate = history.add(1.0, status(port("a.0"), port("b.0", rx=(7, 700))))
    assert rate.rx_frames == 7


def test_a_port_that_went_and_came_again_counts_from_nothing():
    history = History()
    history.add(0.0, status(port("a.0", rx=(1000, 1000))))
    (rate,) = history.add(1.0, status(port("a.0", rx=(3, 300))))
    assert (rate.rx_frames, rate.rx_bits) == (3, 2400)


def test_ports_that_are_gone_are_forgotten():
    history = History()
    history.add(0.0, status(port("a.0"), port("b.0")))
    assert [rate.port for rate in history.add(1.0, status(port("b.0")))] == ["b.0"]
    assert list(history._trends) == ["b.0"]


def test_a_port_without_carrier_or_link_is_down():
    history = History()
    rates = history.add(0.0, status(port("a.0"), port("b.0", carrier=False), port("c.0", link="down")))
    assert [rate.up for rate in rates] == [True, False, False]
    assert (total(rates).ports, total(rates).down) == (3, 2)


def test_orders():
    history = History()
    history.add(0.0, status(port("a.0"), port("b.0"), port("c.0")))
    rates = history.add(
        1.0,
        status(
            port("a.0", rx=(1, 9_000)),
            port("b.0", rx=(50, 3_000), tx=(2, 120)),
            port("c.0", tx=(9, 540), drops={"runt": 1}),
        ),
    )
    first = {what: min(rates, key=key).port for what, key in ORDERS.values()}
    assert first == {"bits": "a.0", "rx": "b.0", "tx": "c.0", "drops": "c.0", "port": "a.0"}


def test_sparklines():
    assert sparkline([], 4) == BARS[0] * 4
    assert sparkline([0, 0], 2) == BARS[0] * 2
    assert sparkline([1, 8, 4], 3) == "▂█▅"
    assert sparkline([8, 1], 4) == "▁▁█▂"
    assert sparkline(range(100), 3) == "███"


def rendered(rates, width, height, **options) -> list[str]:
    out = io.StringIO()
    options = {"order": "b", **options}
    console = Console(file=out, width=width, height=height, highlight=False, emoji=False)
    console.print(screen("lab", rates, width=width, height=height, **options), end="")
    return out.getvalue().splitlines()


RATES = st.builds(
    Rate,
    port=st.from_regex(r"[a-z0-9-]{1,40}\.[0-9]{1,2}", fullmatch=True),
    guest=st.just("a"),
    kind=st.sampled_from(["stack", "vhost-user", "tap"]),
    network=st.sampled_from(["red", "a-very-long-network-name-indeed"]),
    up=st.booleans(),
    rx_frames=st.floats(0, 1e9),
    rx_bits=st.floats(0, 1e12),
    tx_frames=st.floats(0, 1e9),
    tx_bits=st.floats(0, 1e12),
    drops=st.floats(0, 1e9),
    reason=st.sampled_from(["", "guard-mac", "untagged-not-allowed"]),
    dropped=st.integers(0, 10**12),
    trend=st.lists(st.floats(0, 1e12), max_size=60).map(tuple),
)


@given(st.lists(RATES, max_size=60), st.sampled_from([(80, 24), (120, 40), (200, 10)]), st.integers(0, 70))
def test_the_screen_fits(rates, size, top):
    width, height = size
    lines = rendered(rates, width, height, top=top)
    assert len(lines) <= height
    assert all(len(text) <= width for text in lines)


def test_every_port_is_on_a_small_screen_with_its_figures():
    busy = Rate(
        "web.0", "web", "vhost-user", "red", True, 1.2e6, 9.8e9, 3.4e3, 2e6, 12, "guard-mac", 12, (1, 2)
    )
    text = "\n".join(rendered([busy, attrs.evolve(busy, port="db.0", up=False)], 80, 24))
    for word in (
        "lab",
        "2 ports",
        "1 down",
        "web.0",
        "1.2 M",
        "9.8 G",
        "3.4 k",
        "guard-mac",
        "no carrier",
        "q ends",
    ):
        assert word in text, f"{word} is not in\n{text}"


def test_one_line():
    history = History()
    history.add(0.0, status(port("a.0")))
    rates = history.add(1.0, status(port("a.0", rx=(1000, 125_000_000))))
    assert line("12:00:00", "lab", rates) == (
        "12:00:00 lab: 1 ports, 0 down, 1 k frames/s, 1 Gbit/s, 0 drops/s; most at a.0: 1 Gbit/s"
    )
