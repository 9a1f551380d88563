"""Learning curves in words: which line is ahead at which number of training texts."""

from __future__ import annotations

import itertools
from statistics import fmean

from clsbench.analysis.learning_curves import CurveLine, LearningCurves, LinePair
from clsbench.analysis.paired import Verdict
from clsbench.report.wording import listed


def curves_in_words(curves: LearningCurves) -> list[str]:
    """One sentence or two on each pair of lines that matters for a choice.

    These are the lines between which the lead changes, and every row with the baseline that is the
    best on average.
    """
    chosen = {frozenset(pair): pair for pair in reversed(_chosen(curves))}
    found = [curves.pair(a, b) for a, b in reversed(chosen.values())]
    return [_pair_in_words(pair, curves.metric.sign) for pair in found if pair is not None]


def curves_note(curves: LearningCurves) -> str:
    """How the curves are made and tested, and what they do not show."""
    note = (
        f"Tests of each size on the same {curves.test_texts:,} test texts, with Holm's correction "
        "over all pairs and sizes at 5 %. Crossovers are interpolated on a logarithmic scale. The "
        "training texts were drawn once (data.split.seed)"
    )
    if all(len(point.seeds) < 2 for line in curves.lines for point in line.points):
        note += ", and each row was trained with one seed"
    return f"{note}; another draw could move the curves."


def _chosen(curves: LearningCurves) -> list[tuple[str, str]]:
    leaders = _leaders(curves)
    found = [(a, b) for a, b in itertools.pairwise(leaders) if a != b]
    rows = [line for line in curves.lines if not line.baseline]
    baselines = [line for line in curves.lines if line.baseline]
    if baselines:
        order = curves.metric.order
        best = min(baselines, key=lambda line: order(fmean(p.score for p in line.points)))
        found += [(best.name, row.name) for row in rows]
    elif not found and len(rows) > 1:
        found = [(leaders[0], row.name) for row in rows if row.name != leaders[0]]
    return found


def _leaders(curves: LearningCurves) -> list[str]:
    """The best line at each size; of equal ones that of the size before, or a row."""
    leaders: list[str] = []
    for size in curves.sizes():
        here = {line.name: curves.metric.order(score) for line in curves.lines
                if (score := _score_at(line, size)) is not None}  # fmt: skip
        best = [name for name, order in here.items() if order == min(here.values())]
        leaders.append(leaders[-1] if leaders and leaders[-1] in best else best[0])
    return leaders


def _score_at(line: CurveLine, size: int) -> float | None:
    return next((p.score for p in line.points if p.train_texts == size), None)


def _pair_in_words(pair: LinePair, sign: int) -> str:
    """``sign`` is that of a difference if the second line is better."""
    first = next((each.difference for each in pair.tests if each.difference), 0.0)
    a, b = pair.a, pair.b
    if not first:
        return f"{a} and {b} are equally good at every size."
    wins: dict[str, Verdict] = {a: "worse", b: "better"}
    shown = {
        name: [t.train_texts for t in pair.tests if t.verdict == verdict]
        for name, verdict in wins.items()
    }
    ahead, behind = (b, a) if sign * first > 0 else (a, b)
    if pair.crossover is not None:
        return (
            f"Below about {_rounded(pair.crossover.estimate)} training texts, {ahead} is ahead of "
            f"{behind}; beyond, {behind} is ahead (they cross between {pair.crossover.after:,} and "
            f"{pair.crossover.before:,}). {_leads(shown[ahead], shown[behind])}"
        )
    if pair.changes:
        sizes = {
            name: [t.train_texts for t in pair.tests if (sign * t.difference > 0) == (name == b)
                   and t.difference]
            for name in (ahead, behind)
        }  # fmt: skip
        places = ", ".join(f"{name} is ahead {_at(found)}" for name, found in sizes.items())
        parts = [f"that of {name} {_at(found)}" for name, found in shown.items() if found]
        verdict = f"Significant: {listed(parts)}." if parts else "No lead is significant."
        return f"The lead changes {pair.changes} times: {places}. {verdict}"
    never = " or equal to" if any(not each.difference for each in pair.tests) else ""
    text = f"{ahead} is ahead of{never} {behind} at every size"
    if len(shown[ahead]) == len(pair.tests):
        return f"{text}, each time significantly."
    return f"{text}, significantly {_at(shown[ahead])}." if shown[ahead] else (
        f"{text}, but never significantly."
    )  # fmt: skip


def _leads(first: list[int], second: list[int]) -> str:
    if first and second:
        return f"Both leads are significant: the first {_at(first)}, the second {_at(second)}."
    if first or second:
        which = "first" if first else "second"
        return f"Only the {which} lead is significant, {_at(first or second)}."
    return "Neither lead is significant at any size."


def _at(sizes: list[int]) -> str:
    """``at 16 and 64 texts``."""
    return f"at {listed([f'{size:,}' for size in sizes])} texts"


def _rounded(number: float) -> str:
    """Two significant digits: ``130``."""
    return f"{int(float(f'{number:.2g}')):,}"
