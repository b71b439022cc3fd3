"""Numbers as people read them, names as data."""

import pytest

from cnnprof.render.quantities import exact, nbytes, percent, plain, seconds, shape, si, threads


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (7, "7"), (999, "999"), (1000, "1.00 k"), (999_999, "1.00 M"), (4_089_184_256, "4.09 G"),
        (25_557_032, "25.6 M"), (1.5e15, "1.50 P"), (None, "?"),
    ],
)  # fmt: skip
def test_si(value: float | None, text: str) -> None:
    assert si(value) == text


def test_one_thread_and_several() -> None:
    assert (threads(1), threads(4)) == ("1 thread", "4 threads")


def test_si_with_a_unit() -> None:
    assert si(4_089_184_256, "MACs") == "4.09 GMACs"
    assert si(12, "MACs") == "12 MACs"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (102_228_128, "97.5 MiB"),
        (2**40, "1.00 TiB"),
        (None, "?"),
    ],
)
def test_bytes(value: int | None, text: str) -> None:
    assert nbytes(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.5, "1.50 s"), (0.0123, "12.3 ms"), (4.2e-5, "42.0 µs"), (3e-8, "30.0 ns"), (None, "?")],
)
def test_seconds(value: float | None, text: str) -> None:
    assert seconds(value) == text


def test_shares() -> None:
    assert percent(1, 3) == "33.3 %"
    assert percent(1, 10_000) == "<0.1 %"
    assert percent(0, 3) == "0.0 %"
    assert percent(None, 3) == "?"
    assert percent(1, 0) == ""


def test_shapes_and_exact_numbers() -> None:
    assert shape((1, 64, 112, 80)) == "1×64×112×80"
    assert shape(()) == "scalar"
    assert shape(None) == "?"
    assert exact(4_089_184_256) == "4,089,184,256"


def test_names_cannot_drive_a_terminal() -> None:
    assert plain("\x1b[31mred\x07") == "\\x1b[31mred\\x07"
    assert plain("Größe/层") == "Größe/层"
    assert plain("a\u202eb") == "a\\u202eb"  # right-to-left override
