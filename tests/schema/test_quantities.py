"""Durations and sizes as text, and sizes read from text."""

from __future__ import annotations

import pytest

from clsbench.errors import UsageError
from clsbench.schema.options import default_options
from clsbench.schema.quantities import clock_text, duration_text, size_bytes, size_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (2.5e-9, "2.5 ns"),
        (4.17e-4, "417 µs"),
        (9.997e-4, "1 ms"),
        (2.857e-3, "2.86 ms"),
        (0.02, "20 ms"),
        (0.4, "0.4 s"),
        (1.3064, "1.31 s"),
        (90.0, "90 s"),
        (99.94, "99.9 s"),
        (99.96, "1 min 40 s"),
        (120.0, "2 min"),
        (125.0, "2 min 05 s"),
        (3599.6, "1 h"),
        (3720.0, "1 h 02 min"),
    ],
)
def test_duration_text_chooses_a_fitting_unit(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03")],
)
def test_clock_text_has_minutes_and_seconds(seconds: float, text: str) -> None:
    assert clock_text(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (7, "7 B"),
        (999_999, "1 MB"),
        (2**20, "1.05 MB"),
        (71_912_345, "71.9 MB"),
        (8 * 10**9, "8 GB"),
        (1234 * 10**12, "1,234 TB"),
    ],
)
def test_size_text_chooses_a_fitting_unit(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    "text",
    ["1MB\n", "9" * 400 + "MB", "1." + "0" * 400, "1" * 5000, "٣MB", "", "200", "1.5", "20%"],
    ids=lambda text: ascii(text[:8]),
)
@pytest.mark.parametrize("option", ["cache_memory", "cache_disk"])
def test_size_option_with_an_invalid_size_is_refused(option: str, text: str) -> None:
    message = f"{option} = .*: expected a size such as 200MB, 1.5GiB or 0$"
    with pytest.raises(UsageError, match=message):
        default_options({option: text})


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("9" * 18 + "TiB", (10**18 - 1) * 2**40),
        ("0." + "3" * 18 + "kB", 333),
        ("0", 0),
        ("200mb", 200 * 10**6),
        ("1.5 gib", 3 * 2**29),
        ("2K", 2000),
        ("7B", 7),
    ],
    ids=lambda value: ascii(value)[:8],
)
def test_size_bytes_reads_every_accepted_size(text: str, size: int) -> None:
    read = size_bytes(default_options({"cache_memory": text}).cache_memory or "")
    assert read == pytest.approx(size)
