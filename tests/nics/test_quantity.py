from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nics.keys import Wrong
from nics.quantity import PACKETS, RATE, SHARE, SIZE, TIME, Quantity

ALL = {"time": TIME, "rate": RATE, "size": SIZE, "share": SHARE, "packets": PACKETS}
each = pytest.mark.parametrize("quantity", ALL.values(), ids=ALL)


@pytest.mark.parametrize(
    ("quantity", "text", "value"),
    [
        (TIME, "10 ms", 10_000_000),
        (TIME, "200 us", 200_000),
        (TIME, "200 µs", 200_000),
        (TIME, "1.5h", 5_400_000_000_000),
        (TIME, 300, 300_000_000_000),
        (TIME, 0.1, 100_000_000),
        (TIME, "1e3 s", 1_000_000_000_000),
        (RATE, "1 Gbit/s", 1_000_000_000),
        (RATE, "1 MB/s", 8_000_000),
        (RATE, "1 Kibit/s", 1024),
        (RATE, 1e9, 1_000_000_000),
        (SIZE, "256 KiB", 262_144),
        (SIZE, "1 kB", 1000),
        (SIZE, 1500, 1500),
        (SHARE, "0.1 %", 1000),
        (SHARE, 0.001, 1000),
        (SHARE, "100%", 1_000_000),
        (PACKETS, "200 k/s", 200_000),
    ],
)
def test_reads(quantity: Quantity, text: object, value: int) -> None:
    assert quantity.read(text) == value


@pytest.mark.parametrize(
    ("quantity", "value", "text"),
    [
        (TIME, 0, "0 s"),
        (TIME, 1, "1 ns"),
        (TIME, 1_500_000, "1.5 ms"),
        (TIME, 300 * 10**9, "5 min"),
        (RATE, 10**9, "1 Gbit/s"),
        (RATE, 1_234_567, "1234.567 kbit/s"),
        (SIZE, 262_144, "256 KiB"),
        (SIZE, 1500, "1500 B"),
        (SHARE, 1000, "0.1 %"),
        (SHARE, 1, "0.0001 %"),
        (PACKETS, 200_000, "200 k/s"),
    ],
)
def test_writes(quantity: Quantity, value: int, text: str) -> None:
    assert quantity.write(value) == text


@each
@given(data=st.data())
def test_round_trip(quantity: Quantity, data: st.DataObject) -> None:
    value = data.draw(st.integers(quantity.lowest, quantity.highest))
    assert quantity.read(quantity.write(value)) == value


@each
@given(data=st.data())
def test_every_unit_is_exact(quantity: Quantity, data: st.DataObject) -> None:
    unit = data.draw(st.sampled_from(sorted(quantity.units)))
    thousandths = data.draw(st.integers(0, 10_000_000))
    grains = quantity.units[unit] * thousandths / 1000
    text = f"{Decimal(thousandths) / 1000} {unit}"
    if grains == int(grains) and quantity.lowest <= grains <= quantity.highest:
        assert quantity.read(text) == grains
    else:
        with pytest.raises(Wrong):
            quantity.read(text)


@each
@given(text=st.text(max_size=80) | st.floats() | st.integers() | st.booleans() | st.none())
def test_anything_else_is_refused_in_words(quantity: Quantity, text: object) -> None:
    refusal, value = "a ", quantity.lowest
    try:
        value = quantity.read(text)
    except Wrong as wrong:
        refusal = wrong.expected
    assert refusal.startswith("a ")
    assert quantity.lowest <= value <= quantity.highest


@pytest.mark.parametrize(
    ("quantity", "text", "hint"),
    [
        (TIME, "10", 'add a unit, such as "10 ms"'),
        (TIME, "10 sec", "did you mean s?"),
        (TIME, "0.1 ns", "the finest step is 1 ns"),
        (RATE, "1 Mbps", "did you mean Mbit/s?"),
        (SIZE, "1 KB", "did you mean kB or KiB?"),
        (PACKETS, "10 kpps", "did you mean k/s?"),
        (SHARE, "1 percent", "did you mean %?"),
        (TIME, "9" * 70 + " s", ""),
        (TIME, "1e999 s", ""),
        (TIME, "-1 s", ""),
        (SHARE, "100.1 %", ""),
        (RATE, "0 bit/s", ""),
        (TIME, float("inf"), ""),
        (TIME, "1.00000000000000000000000000000000000001 s", "the finest step is 1 ns"),
    ],
)
def test_hints(quantity: Quantity, text: object, hint: str) -> None:
    with pytest.raises(Wrong) as error:
        quantity.read(text)
    assert error.value.hint == hint


@each
def test_schema_takes_what_is_written(quantity: Quantity) -> None:
    pattern = quantity.schema()["anyOf"][1]["pattern"]
    for example in quantity.examples:
        assert re.search(pattern, example)
        quantity.read(example)
    assert not re.search(pattern, "10 parsec")
