"""Quantities: read exactly, refused by name."""

from __future__ import annotations

from fractions import Fraction

import pytest

from cnnprof.errors import UsageError
from cnnprof.gate.quantity import Dimension, parse_increase, parse_quantity, parse_share, show

D = Dimension


@pytest.mark.parametrize(
    ("value", "dimension", "expected"),
    [
        ("4.2 GMACs", D.MACS, 4_200_000_000),
        ("4.2G", D.MACS, 4_200_000_000),
        ("600 Mmacs", D.MACS, 600_000_000),
        ("0.1 kMACs", D.MACS, 100),
        ("1_050_624", D.MACS, 1_050_624),
        ("1,050,624 MACs", D.MACS, 1_050_624),
        (9_007_199_254_740_993, D.MACS, 9_007_199_254_740_993),  # 2^53 + 1: no float in between
        (4.2e9, D.MACS, 4_200_000_000),
        ("1.2345 k", D.MACS, 1234),
        ("8.2 GFLOPs", D.FLOPS, 8_200_000_000),
        ("25M", D.PARAMETERS, 25_000_000),
        ("25M params", D.PARAMETERS, 25_000_000),
        ("7B", D.PARAMETERS, 7_000_000_000),
        ("64 MiB", D.BYTES, 67_108_864),
        ("64 MB", D.BYTES, 64_000_000),
        ("1.5 KiB", D.BYTES, 1536),
        (320, D.BYTES, 320),
        ("5 ms", D.SECONDS, Fraction(1, 200)),
        ("250µs", D.SECONDS, Fraction(1, 4000)),
        ("427 px", D.PIXELS, 427),
        ("30%", D.SHARE, Fraction(3, 10)),
        (0.3, D.SHARE, Fraction(3, 10)),
        (1, D.SHARE, 1),
    ],
)
def test_read_exactly(value: object, dimension: Dimension, expected: object) -> None:
    assert parse_quantity(value, dimension, "here") == expected


@pytest.mark.parametrize(
    ("value", "dimension", "part"),
    [
        ("4.2 GB", D.MACS, "the unit 'GB' is not one of MACs"),
        ("8 GFLOPs", D.MACS, "use the key flops"),
        ("5m", D.MACS, "the unit 'm'"),  # milli or mega? neither
        ("64M", D.BYTES, "the unit 'M' is not one of bytes"),  # 10^6 or 2^20? say which
        ("5", D.SECONDS, "the unit is missing"),
        ("5 minutes", D.SECONDS, "units s, ms, us"),
        ("-3", D.MACS, "is not a quantity"),
        ("", D.MACS, "is not a quantity"),
        ("many", D.MACS, "is not a quantity"),
        (float("nan"), D.MACS, "is not a quantity"),
        (float("inf"), D.MACS, "is not a quantity"),
        (-1, D.MACS, "is not a quantity"),
        (True, D.MACS, "got bool"),
        (None, D.MACS, "got NoneType"),
        ("9e99", D.MACS, "larger than any model"),
        ("101%", D.SHARE, "more than 100%"),
        ("3 px", D.SHARE, "has the unit 'px'"),
    ],
)
def test_refused_with_the_right_units(value: object, dimension: Dimension, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_quantity(value, dimension, "here")
    assert str(caught.value).startswith("here: ")
    assert part in str(caught.value)


def test_increases() -> None:
    assert parse_increase("2%", D.MACS, "here").limit(1_000_000) == 1_020_000
    assert parse_increase("0.1 %", D.MACS, "here").limit(1000) == 1001
    assert parse_increase(0, D.SECONDS, "here").limit(0.5) == Fraction(1, 2)
    assert parse_increase("10k", D.PARAMETERS, "here").limit(5) == 10_005
    with pytest.raises(UsageError, match='write "2%"'):
        parse_increase(0.02, D.MACS, "here")
    with pytest.raises(UsageError, match="the unit 'MiB'"):
        parse_increase("1 MiB", D.MACS, "here")


def test_share_of_exactly_one() -> None:
    assert parse_share("100%", "here") == 1


@pytest.mark.parametrize(
    ("value", "dimension", "text"),
    [
        (4_089_184_256, D.MACS, "4.09G (4,089,184,256)"),
        (1368, D.PARAMETERS, "1,368"),
        (67_108_864, D.BYTES, "64.0 MiB (67,108,864)"),
        (1000, D.BYTES, "1000 B"),
        (Fraction(1, 200), D.SECONDS, "5 ms"),
        (0.00025, D.SECONDS, "250 µs"),
        (Fraction(995, 1000), D.SHARE, "99.5%"),
        (None, D.MACS, "unknown"),
    ],
)
def test_shown(value: float, dimension: Dimension, text: str) -> None:
    assert show(value, dimension) == text
