"""The race of the fast path's table on one device, in fp32 without and with TF32, and in bf16."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import numpy as np
import torch
from torch import nn

from bounded_parts import failure
from bounds import Bound, bound, needs_of_a_step
from clsbench.bench.interleaving import Comparison, Race, RaceRules, race
from clsbench.bench.machine_peak import Limits, LimitsMeter
from clsbench.bench.stopwatch import stopwatch
from clsbench.model.classifier import Classifier
from contest import PEER_TOLERANCE, check_equality, check_equivalence, check_in_double
from our_side import OurSide, make_classifier
from peers import BookSide, make_book_model, make_fast_book_model
from race_outcome import TOLERANCE, Equality
from whole import BOOK, OURS
from workload import SETTINGS, Setting, Workload, prepare

FAST_BOOK = "GPTModelFast"
ORDER = (
    "last-block", "all", "all-real-token", "last-block-real-token", "two-blocks", "head-only",
    "lora",
)  # fmt: skip
"""The settings, the most wanted first."""

_MOST_ROUNDING = 1e-3
"""In fp32, larger differences are not due to rounding, so the check in float64 does not apply."""

_LOWEST_ALLOWED = 1e-2
_ALLOWED_MULTIPLE = 3


class Mode(NamedTuple):
    """The arithmetic of a race: a precision of clsbench, and whether products may use TF32."""

    name: str
    precision: Literal["fp32", "bf16"]
    tf32: bool


MODES = (Mode("fp32", "fp32", False), Mode("tf32", "fp32", True), Mode("bf16", "bf16", False))


class Scale(NamedTuple):
    """How much is measured: the model's size, the batches of a call, and the time of a race."""

    size: str
    batches: int
    rules: RaceRules
    settings: tuple[str, ...]
    compiled_modes: tuple[str, ...]
    limits_side: int | None
    limits_bytes: int | None
    limits_seconds: float


_EVERY_SAMPLE = float("inf")
FULL = Scale(
    "small", 8, RaceRules(12, 3.0, _EVERY_SAMPLE, 0.05), ORDER, ("fp32", "bf16"), None, None, 0.4
)
MINIATURE = Scale(
    "tiny", 2, RaceRules(6, 0.5, _EVERY_SAMPLE, 0.02), ORDER[:1], ("fp32",), 256, 8 * 2**20, 0.05
)


class Raced(msgspec.Struct, frozen=True, kw_only=True):
    """One setting in one mode. Times are those of one step.

    ``verdict`` is empty if the sides were timed, else the reason why not. ``difference`` is the
    largest between the losses of both sides in the first steps, of which ``allowed`` was tolerated.
    If fp32 exceeds it, the steps are repeated in float64, in which ``double_difference`` is
    relative.
    """

    setting: str
    about: str
    mode: str
    verdict: str
    difference: float | None = None
    allowed: float | None = None
    double_difference: float | None = None
    equality: Equality | None = None
    steps_in_a_call: int = 0
    ours_seconds: float | None = None
    book: Comparison | None = None
    fast_book: Comparison | None = None
    controls: list[Comparison] = []
    bound: Bound | None = None
    ours_over_bound: float | None = None
    race: Race | None = None


class RaceResult(msgspec.Struct, frozen=True, kw_only=True):
    """The measured peaks by mode, and the rows so far."""

    limits: dict[str, Limits]
    rows: list[Raced]


def race_all(
    device: torch.device, assets: Path | None, scale: Scale, save: Callable[[RaceResult], None]
) -> list[Raced]:
    """Race all settings in all modes; ``save`` receives the results after each.

    An error in one of them is kept as its verdict.
    """
    limits: dict[str, Limits] = {}
    for mode in MODES:
        with arithmetic(mode):
            meter = LimitsMeter(
                device, mode.precision, scale.limits_side, scale.limits_bytes, scale.limits_seconds
            )
            meter.measure()
            limits[mode.name] = meter.best()
    rows: list[Raced] = []
    save(RaceResult(limits=limits, rows=rows))
    for name in scale.settings:
        contenders: Contenders | None = None
        for mode in MODES:
            try:
                contenders = contenders or Contenders(SETTINGS[name], device, assets, scale)
                with arithmetic(mode), tempfile.TemporaryDirectory() as folder:
                    rows.append(contenders.race(mode, limits[mode.name], Path(folder)))
            except Exception as error:
                about = SETTINGS[name].about
                verdict = failure(error)
                rows.append(Raced(setting=name, about=about, mode=mode.name, verdict=verdict))
            save(RaceResult(limits=limits, rows=rows))
            gc.collect()
    return rows


@contextmanager
def arithmetic(mode: Mode) -> Iterator[None]:
    """Allow or forbid TF32 in matrix products."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if mode.tf32 else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class Trained(NamedTuple):
    """A model with a copy of its first weights."""

    module: nn.Module
    weights: dict[str, torch.Tensor]

    @classmethod
    def of(cls, module: nn.Module) -> Trained:
        return cls(module, {name: value.clone() for name, value in module.state_dict().items()})

    def anew(self) -> nn.Module:
        """The model with its first weights, without gradients."""
        self.module.load_state_dict(self.weights)
        self.module.zero_grad()
        return self.module

    def make(self, workload: Workload, seed: int) -> nn.Module:
        """The same as :meth:`anew`, for :class:`BookSide`; the weights are those of the seed."""
        return self.anew()


class Contenders:
    """Both sides of one setting; building them takes longer than racing them, so all modes use the
    same modules."""

    def __init__(
        self, setting: Setting, device: torch.device, assets: Path | None, scale: Scale
    ) -> None:
        self._setting, self._scale = setting, scale
        self._workloads: dict[str, Workload] = {
            precision: prepare(
                setting, scale.size, assets, None, scale.batches, str(device), precision
            )
            for precision in ("fp32", "bf16")
        }
        workload = self._workloads["fp32"]
        seed = workload.experiment.spec.seed
        self._ours = make_classifier(workload, "fp32").to(device)
        self._our_weights = Trained.of(self._ours)
        self._book = Trained.of(make_book_model(workload, seed).to(device))
        self._fast_book = (
            None if setting.lora else Trained.of(make_fast_book_model(workload, seed).to(device))
        )
        self._fp32_book: list[float] = []

    def race(self, mode: Mode, limits: Limits, folder: Path) -> Raced:
        """Check that both sides do the same in this mode; if so, time them."""
        workload = self._workloads[mode.precision]
        seed = workload.experiment.spec.seed
        ours = self.our_side(workload, folder)
        try:
            book = BookSide(workload, folder, seed, make=self._book.make)
            equality = check_equality(ours, book)
            if mode == MODES[0]:
                self._fp32_book = equality.book
                if not equality.holds and equality.difference <= _MOST_ROUNDING:
                    equality = check_in_double(equality, workload, folder, seed)
            raced = Raced(
                setting=self._setting.name,
                about=self._setting.about,
                mode=mode.name,
                verdict=self._problem(mode, equality),
                difference=equality.difference,
                allowed=self._allowed(mode, equality),
                double_difference=equality.double_difference,
                equality=equality,
            )
            if raced.verdict:
                return raced
            sides: dict[str, OurSide | BookSide] = {OURS: ours, BOOK: book}
            if self._fast_book is not None:
                fast = BookSide(workload, folder, seed, make=self._fast_book.make)
                tolerance = max(self._allowed(mode, equality), PEER_TOLERANCE)
                if problem := check_equivalence(FAST_BOOK, fast.step, equality, tolerance):
                    return msgspec.structs.replace(raced, verdict=problem)
                sides[FAST_BOOK] = fast
            found = race(
                {name: side.steps for name, side in sides.items()},
                self._scale.rules,
                stopwatch(workload.device),
            )
            least = bound(needs_of_a_step(ours, workload), limits)
        finally:
            ours.close()
        against = {
            name: _per_step(found.compare(OURS, name), workload) for name in sides if name != OURS
        }
        seconds = against[BOOK].fast_seconds
        return msgspec.structs.replace(
            raced,
            steps_in_a_call=len(workload.batches),
            ours_seconds=seconds,
            book=against[BOOK],
            fast_book=against.get(FAST_BOOK),
            controls=[_per_step(found.control(name), workload) for name in sides],
            bound=least,
            ours_over_bound=None if seconds is None else seconds / least.seconds,
            race=found,
        )

    def our_side(self, workload: Workload, folder: Path) -> OurSide:
        """Our side with its first weights."""
        classifier = self._our_weights.anew()
        assert isinstance(classifier, Classifier)
        return OurSide(workload, folder, classifier=classifier)

    def _allowed(self, mode: Mode, equality: Equality) -> float:
        """The tolerated difference of losses.

        In reduced precision, a multiple of what the book's own losses differ from those in fp32.
        """
        if mode == MODES[0]:
            return TOLERANCE
        own = float(np.max(np.abs(np.subtract(equality.book, self._fp32_book))))
        return max(_ALLOWED_MULTIPLE * own, _LOWEST_ALLOWED)

    def _problem(self, mode: Mode, equality: Equality) -> str:
        if equality.our_trainable != equality.book_trainable:
            return f"{equality.our_trainable:,} parameters train, {equality.book_trainable:,} there"
        if mode == MODES[0]:
            return "" if equality.holds else f"losses differ by {equality.difference:.1e}"
        if equality.difference <= self._allowed(mode, equality):  # not for NaN
            return ""
        return f"losses differ by {equality.difference:.1e}"


def _per_step(comparison: Comparison, workload: Workload) -> Comparison:
    """The comparison of calls, with the times of one step of them."""
    steps = len(workload.batches)
    fast, slow = comparison.fast_seconds, comparison.slow_seconds
    return msgspec.structs.replace(
        comparison,
        fast_seconds=None if fast is None else fast / steps,
        slow_seconds=None if slow is None else slow / steps,
    )
