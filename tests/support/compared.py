"""Comparisons made from scores, costs and verdicts, without runs."""

from __future__ import annotations

from typing import Any

from metric_examples import SHOWN

from clsbench.analysis.comparison import Contender, Pair, RunComparison
from clsbench.analysis.paired import Difference, Verdict
from clsbench.analysis.sides import BASELINE


def contender(name: str, score: float | None, seconds: float | None, **fields: Any) -> Contender:
    """A contender with this cost; a baseline if its name begins as one."""
    baseline = name.startswith(BASELINE)
    cost = "baseline_seconds" if baseline else "prefix_and_training_seconds"
    known: dict[str, Any] = {
        "name": name,
        "runs": () if baseline else (f"run of {name}",),
        "seeds": (123,),
        "accuracy": score or 0.0,
        "score": score,
        "prefix_found": False,
        "stand_ins": (),
        cost: seconds,
    }
    missing = {
        field: None
        for field in Contender.__struct_fields__
        if field not in known and field in _REQUIRED
    }
    return Contender(**{**missing, **known, **fields})


_REQUIRED = (
    *("score_sd", "interval", "accuracy_without_leaked", "calibration_error", "brier"),
    *("calibration", "trainable_parameters", "prefix_and_training_seconds", "ranks"),
)


def compared(contenders: list[Contender], *better: tuple[str, str]) -> RunComparison:
    """A comparison in which only the pairs ``better`` (first than second) are significant."""
    pairs = []
    for place, b in enumerate(contenders):
        for a in contenders[:place]:
            verdict: Verdict = "no difference shown"
            if (b.name, a.name) in better:
                verdict = "better"
            elif (a.name, b.name) in better:
                verdict = "worse"
            pairs.append(
                Pair(a=a.name, b=b.name, found=_found(a, b), p_corrected=0.5, verdict=verdict)
            )
    return RunComparison(
        texts=100,
        metric=SHOWN.primary,
        test_sha256="",
        differing_splits=(),
        class_names=("ham", "spam"),
        contenders=tuple(contenders),
        pairs=tuple(pairs),
        disagreements=(),
    )


def _found(a: Contender, b: Contender) -> Difference | None:
    if a.score is None or b.score is None:
        return None
    by = b.score - a.score
    return Difference(
        texts=100,
        seeds=1,
        only_a=1,
        only_b=2,
        difference=by,
        interval=(by - 0.01, by + 0.02),
        p=0.5,
    )
