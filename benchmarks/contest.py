"""Compare both sides of one setting: check that they compute the same, then time them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch

from bounds import needs_of_a_step
from clsbench.bench.interleaving import FEWEST_PAIRS, RaceRules, race
from clsbench.bench.memory import reset_resident_peak, resident_peak
from our_side import OurSide
from peers import BookSide, HuggingFaceSide, make_fast_book_model
from race_outcome import Equality, Result, verdict
from whole import BOOK, OURS, put_together, race_parts
from workload import SETTINGS, Promise, Setting, Workload

HUGGING_FACE = "Hugging Face"
FAST_BOOK = "book, GPTModelFast"
_CHECKED_STEPS = 4
PEER_TOLERANCE = 1e-3  # in float32; AdamW magnifies rounding
_STEP_SHARE = 0.5  # of a setting's budget; the parts of a whole run take the rest


def run_setting(
    workload: Workload,
    folder: Path,
    rules: RaceRules,
    size: str,
    break_equality: bool = False,
) -> Result:
    """Check that both sides do the same; if so, time them."""
    setting = workload.setting
    resets = reset_resident_peak()
    promise: Promise | None = setting.promise if size == "small" else None
    seed = workload.experiment.spec.seed + break_equality
    ours = OurSide(workload, folder)
    book = BookSide(workload, folder, seed)
    equality = check_equality(ours, book)
    if equality.our_trainable == equality.book_trainable and not equality.holds:
        equality = check_in_double(equality, workload, folder, seed)
    result = Result(
        setting=setting.name,
        about=setting.about,
        shortcuts={s.name: s.detail for s in workload.plan.shortcuts if s.taken},
        equality=equality,
        verdict=verdict(equality, None, None),
        promised_step=promise.step if promise else None,
        promised_cold=promise.cold if promise else None,
        promised_kept=promise.kept if promise else None,
    )
    if not equality.holds:
        return result
    contenders: dict[str, Any] = {OURS: ours.step, BOOK: book.step}
    if not setting.lora:
        fast_book = BookSide(workload, folder, seed, make=make_fast_book_model)
        contenders[FAST_BOOK] = fast_book.step
    if _is_row_1(setting):
        contenders[HUGGING_FACE] = HuggingFaceSide(workload, seed).step
    refused = [difference for name in (FAST_BOOK, HUGGING_FACE) if name in contenders
               if (difference := check_equivalence(name, contenders[name], equality))]  # fmt: skip
    if refused:
        return msgspec.structs.replace(result, verdict="failed: " + "; ".join(refused))
    share = rules._replace(budget_seconds=rules.budget_seconds * _STEP_SHARE)
    steps = race(contenders, share)
    rest = rules._replace(
        rounds=min(rules.rounds, FEWEST_PAIRS + 1),  # without control, and no round is short
        budget_seconds=rules.budget_seconds * (1 - _STEP_SHARE),
    )
    parts = race_parts(ours, book, rest)
    step = steps.compare(OURS, BOOK)
    return msgspec.structs.replace(
        result,
        verdict=verdict(equality, step, result.promised_step),
        race=steps,
        parts_race=parts,
        step=step,
        hugging_face=steps.compare(OURS, HUGGING_FACE) if _is_row_1(setting) else None,
        fast_book=None if setting.lora else steps.compare(OURS, FAST_BOOK),
        controls=[steps.control(name) for name in contenders],
        needs=needs_of_a_step(ours, workload),
        whole=put_together(steps, parts, workload),
        peak_memory_bytes=resident_peak() if resets else None,
    )


def check_equality(ours: OurSide, book: BookSide) -> Equality:
    """The losses of the first steps of both sides, on the same texts."""
    return Equality(
        ours=[ours.step() for _ in range(_CHECKED_STEPS)],
        book=[book.step() for _ in range(_CHECKED_STEPS)],
        our_trainable=sum(parameter.numel() for parameter in ours.trained),
        book_trainable=sum(p.numel() for p in book.model.parameters() if p.requires_grad),
    )


def check_equivalence(
    name: str, step: Callable[[], float], equality: Equality, tolerance: float = PEER_TOLERANCE
) -> str | None:
    """The problem of another peer in the first steps, compared with the book; ``None`` if the
    losses agree."""
    differences = (abs(theirs - step()) for theirs in equality.book)
    worst = max(differences, key=lambda each: math.inf if math.isnan(each) else each)
    if worst <= tolerance:
        return None
    return f"losses of {name} differ by {worst:.1e} from the book's"


def check_in_double(equality: Equality, workload: Workload, folder: Path, seed: int) -> Equality:
    """Run the same steps in float64, in which rounding errors vanish."""
    default = torch.get_default_dtype()
    ours = OurSide(workload, folder, "fp64")
    # The book's GELU creates a constant of the default dtype in every call.
    torch.set_default_dtype(torch.float64)
    try:
        book = BookSide(workload, folder, seed, torch.float64)
        return msgspec.structs.replace(
            equality,
            double_ours=[ours.step() for _ in range(_CHECKED_STEPS)],
            double_book=[book.step() for _ in range(_CHECKED_STEPS)],
        )
    finally:
        torch.set_default_dtype(default)


def _is_row_1(setting: Setting) -> bool:
    return setting is next(iter(SETTINGS.values()))
