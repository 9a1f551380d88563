"""What came of a race, as values that JSON holds."""

from __future__ import annotations

import msgspec

from bounds import Bound, Machine
from racing import Comparison, Race

TOLERANCE = 1e-5
"""By how much a loss may differ between the two sides."""


class Equality(msgspec.Struct, frozen=True, kw_only=True):
    """The losses of the first steps on either side, and how many parameters train."""

    ours: list[float]
    book: list[float]
    our_trainable: int
    book_trainable: int
    tolerance: float = TOLERANCE

    @property
    def difference(self) -> float:
        """The largest difference between two losses of a step."""
        return max(abs(a - b) for a, b in zip(self.ours, self.book, strict=True))

    @property
    def holds(self) -> bool:
        # not "> tolerance": a loss that is no number is not equal either
        return self.difference <= self.tolerance and self.our_trainable == self.book_trainable


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A measured part of a whole run: the median of its quiet ``samples``, and ``times`` it is done
    (a fraction, where it was measured on some of the texts only)."""

    side: str
    name: str
    times: float
    samples: int
    seconds: float | None

    @property
    def total_seconds(self) -> float | None:
        return None if self.seconds is None else self.seconds * self.times


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run put together from its parts, ``cold`` and with the prefix ``kept``.

    Each comparison has the seconds of either side; ``kept`` is ``None`` where nothing is kept.
    """

    cold: Comparison
    kept: Comparison | None
    cold_parts: list[Part]
    kept_parts: list[Part]


class WholeRun(msgspec.Struct, frozen=True, kw_only=True):
    """Row 1 run whole, once, on both sides; what others did meanwhile was not filtered out.

    Losses are those of the evaluations while training, train and validation in turn.
    """

    book_seconds: float
    cold_seconds: float
    kept_seconds: float
    book_foreign_cores: float
    cold_foreign_cores: float
    kept_foreign_cores: float
    cold_phases_seconds: dict[str, float]
    kept_phases_seconds: dict[str, float]
    cold_peak_memory_bytes: int | None
    book_losses: list[float]
    our_losses: list[float]
    difference: float
    difference_within_50_steps: float
    book_accuracy: dict[str, float]
    our_accuracy: dict[str, float]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table. Without ``race`` its equality failed, and nothing was timed."""

    setting: str
    about: str
    shortcuts: dict[str, str]
    equality: Equality
    verdict: str
    promised_step: float | None = None
    promised_cold: float | None = None
    promised_kept: float | None = None
    race: Race | None = None
    parts_race: Race | None = None
    step: Comparison | None = None
    hugging_face: Comparison | None = None
    controls: list[Comparison] = []
    bound: Bound | None = None
    ours_over_bound: float | None = None
    whole: Whole | None = None
    peak_memory_bytes: int | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was measured, and where."""

    date: str
    size: str
    machine: dict[str, str | int]
    versions: dict[str, str]
    threads: int
    command: dict[str, str | int | float | bool | list[str]]
    limits: Machine
    results: list[Result]
    whole_run: WholeRun | None
    notes: list[str]


def verdict(equality: Equality, step: Comparison | None, promised: float | None) -> str:
    """The outcome in words: of the equality, then of the step."""
    if equality.our_trainable != equality.book_trainable:
        return (
            f"failed: {equality.our_trainable:,} parameters train, {equality.book_trainable:,} in "
            "the book"
        )
    if not equality.holds:
        return f"failed: losses differ by {equality.difference:.1e}"
    if step is None or step.ratio is None or step.low is None:
        return "not measured"
    if not step.differs:
        return "no difference"
    if promised is None:
        return "faster" if step.ratio > 1 else "slower"
    if step.ratio < promised:
        return f"below {promised:g}×"
    return f"reaches {promised:g}×" + ("" if step.low >= promised else ", not surely")
