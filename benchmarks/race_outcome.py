"""The results of the comparison, as values for JSON."""

from __future__ import annotations

import msgspec
import numpy as np

from bounds import Bound, Needs
from clsbench.bench.interleaving import Comparison, Race
from clsbench.bench.machine_peak import Limits

TOLERANCE = 1e-5
"""The allowed difference of a loss between the two sides in float32."""

DOUBLE_TOLERANCE = 1e-9
"""The allowed relative difference in float64, if float32 differs by more than that."""


class Equality(msgspec.Struct, frozen=True, kw_only=True):
    """The losses of the first steps on both sides, and the numbers of trained parameters.

    AdamW can magnify rounding errors of small gradients; the book itself differs by more than the
    tolerance with another number of threads. Beyond the tolerance, the same steps are therefore run
    in float64 (``double_ours`` and ``double_book``), which distinguishes rounding from a different
    computation.
    """

    ours: list[float]
    book: list[float]
    our_trainable: int
    book_trainable: int
    double_ours: list[float] = []
    double_book: list[float] = []

    @property
    def difference(self) -> float:
        """The largest difference between two losses of a step, in float32."""
        # Python's own maximum would ignore a NaN.
        return float(np.max(np.abs(np.subtract(self.ours, self.book))))

    @property
    def double_difference(self) -> float | None:
        """The largest relative difference in float64, if it was needed."""
        if not self.double_book:
            return None
        book = np.asarray(self.double_book)
        return float(np.max(np.abs(np.subtract(self.double_ours, book)) / np.abs(book)))

    @property
    def holds(self) -> bool:
        if self.our_trainable != self.book_trainable:
            return False
        if self.double_difference is not None:
            return self.double_difference <= DOUBLE_TOLERANCE
        return self.difference <= TOLERANCE


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A measured part of a whole run: the median of its quiet ``samples``, and the number of
    ``times`` that it is run (a fraction if it was measured on some texts only)."""

    side: str
    name: str
    times: float
    samples: int
    seconds: float | None

    @property
    def total_seconds(self) -> float | None:
        return None if self.seconds is None else self.seconds * self.times


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run composed of its parts, ``cold`` and with the prefix ``kept``.

    Each comparison has the seconds of both sides; ``kept`` is ``None`` if nothing is kept.
    """

    cold: Comparison
    kept: Comparison | None
    cold_parts: list[Part]
    kept_parts: list[Part]


class WholeRun(msgspec.Struct, frozen=True, kw_only=True):
    """Row 1, run completely once on both sides, without removing the effect of other processes.

    Losses are those of the evaluations during training, alternately train and validation.
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
    """One row of the table.

    Without ``race``, the sides compute different results, and nothing was timed. ``bound`` is set
    if the machine's limits were measured without foreign load.
    """

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
    fast_book: Comparison | None = None
    controls: list[Comparison] = []
    needs: Needs | None = None
    bound: Bound | None = None
    ours_over_bound: float | None = None
    whole: Whole | None = None
    peak_memory_bytes: int | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All measurements and their conditions."""

    date: str
    size: str
    machine: dict[str, str | int]
    versions: dict[str, str]
    threads: int
    command: dict[str, str | int | float | bool | list[str]]
    limits: Limits
    results: list[Result]
    whole_run: WholeRun | None
    notes: list[str]


def verdict(equality: Equality, step: Comparison | None, promised: float | None) -> str:
    """The result in words: first of the equality, then of the step."""
    if equality.our_trainable != equality.book_trainable:
        return (
            f"failed: {equality.our_trainable:,} parameters train, {equality.book_trainable:,} in "
            "the book"
        )
    if not equality.holds and equality.double_difference is not None:
        return (
            f"failed: losses differ in float64, by {equality.double_difference:.1e} of their size"
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
