"""Learning curves: the primary metric by number of training texts, and where the curves cross.

A line consists of runs that differ only in ``data.train_size`` and seed, or of a baseline
fitted on the same training texts. At each size, every pair of lines is compared by the paired tests
of :mod:`clsbench.analysis.paired`, with Holm's correction over all pairs and sizes.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from clsbench.analysis.comparison import RunComparison, compare_runs
from clsbench.analysis.figures import ACCURACY, MetricInfo, ShownMetrics
from clsbench.analysis.paired import Verdict, holm, verdict_on
from clsbench.analysis.standing import baseline_title, standing
from clsbench.results.store import StoredRun
from clsbench.schema.experiment import identity_of
from clsbench.schema.suite import SIZE_KEY


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True):
    """A line at one number of training texts: its score over ``seeds`` and the 95 % interval.

    ``runs`` and ``seeds`` are empty for a baseline.
    """

    train_texts: int
    score: float
    interval: tuple[float, float]
    runs: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()


class CurveLine(msgspec.Struct, frozen=True, kw_only=True):
    """The points of one configuration or baseline, by number of training texts."""

    name: str
    baseline: bool
    points: tuple[CurvePoint, ...]


class SizeTest(msgspec.Struct, frozen=True, kw_only=True):
    """``b`` against ``a`` of a pair at one size; ``verdict`` is that on ``b``."""

    train_texts: int
    difference: float
    p_corrected: float
    verdict: Verdict


class Crossover(msgspec.Struct, frozen=True, kw_only=True):
    """Where the line that is ahead changes.

    It changes between the sizes ``after`` and ``before``; ``estimate`` interpolates the difference
    over the logarithm of the size.
    """

    after: int
    before: int
    estimate: float


class LinePair(msgspec.Struct, frozen=True, kw_only=True):
    """Two lines at their common sizes.

    ``changes`` counts how often the line that is ahead changes; ``crossover`` is set if it changes
    once.
    """

    a: str
    b: str
    tests: tuple[SizeTest, ...]
    changes: int
    crossover: Crossover | None


class LearningCurves(msgspec.Struct, frozen=True, kw_only=True):
    """All lines, those of the rows first, and all pairs of lines.

    The scores are those of the primary metric, ``metric``. ``test_texts`` is the number of test
    texts, ``stand_ins`` names the replacements of missing assets.
    """

    test_texts: int
    metric: MetricInfo = ACCURACY
    lines: tuple[CurveLine, ...]
    pairs: tuple[LinePair, ...]
    stand_ins: tuple[str, ...]

    def sizes(self) -> list[int]:
        """All numbers of training texts, in ascending order."""
        return sorted({point.train_texts for line in self.lines for point in line.points})

    def pair(self, a: str, b: str) -> LinePair | None:
        """The pair of two lines, ``b`` against ``a``; ``None`` without common sizes."""
        for pair in self.pairs:
            if (pair.a, pair.b) == (a, b):
                return pair
            if (pair.a, pair.b) == (b, a):
                return _reversed(pair)
        return None


class Row(NamedTuple):
    """A row whose runs can be compared with those of the other rows."""

    title: str
    runs: tuple[StoredRun, ...]


class SizedComparisons(NamedTuple):
    """Learning curves, and the comparison at each size from which they are made."""

    curves: LearningCurves
    comparisons: Mapping[int, RunComparison]


def learning_curves(
    rows: Sequence[Row], tuned: Iterable[str] = (), metrics: ShownMetrics | None = None
) -> SizedComparisons | None:
    """The learning curves of rows with the same test texts; ``None`` if no two differ only in
    their number of training texts.

    ``tuned`` holds the keys that were tuned; their values may differ between the sizes. The primary
    one of ``metrics`` (default: the accuracy) is compared.
    """
    ignored = ("seed", SIZE_KEY, *tuned)
    groups: dict[str, dict[int, Row]] = {}
    for row in rows:
        data = row.runs[0].record.data
        if data is not None:
            groups.setdefault(_line_key(row.runs[0], ignored), {}).setdefault(
                data.sizes["train"], row
            )
    groups = {key: by_size for key, by_size in groups.items() if len(by_size) > 1}
    if not groups:
        return None
    names = _names(list(groups.values()))
    by_size: dict[int, list[StoredRun]] = {}
    named: dict[str, str] = {}
    for name, group in zip(names, groups.values(), strict=True):
        for size, row in group.items():
            by_size.setdefault(size, []).extend(row.runs)
            named |= {run.path.name: name for run in row.runs}
    comparisons = {
        size: compare_runs(runs, named, allow_single=True, metrics=metrics)
        for size, runs in sorted(by_size.items())
    }
    lines = _lines(names, comparisons)
    runs = [run for group in groups.values() for row in group.values() for run in row.runs]
    curves = LearningCurves(
        test_texts=next(iter(comparisons.values())).texts,
        metric=metrics.primary if metrics is not None else ACCURACY,
        lines=tuple(line for line in lines if len(line.points) > 1),
        pairs=tuple(_pairs([line.name for line in lines if len(line.points) > 1], comparisons)),
        stand_ins=tuple(dict.fromkeys(s.by for run in runs for s in run.record.stand_ins)),
    )
    return SizedComparisons(curves, comparisons)


def _line_key(run: StoredRun, ignored: Iterable[str]) -> str:
    """Equal for runs that differ only in the ignored keys."""
    spec: dict[str, Any] = identity_of(run.record.spec)
    for key in ignored:
        spec = _without(spec, key.split("."))
    environment = run.record.environment
    kind = environment.device.partition(":")[0]
    return json.dumps([spec, kind, environment.precision], sort_keys=True, default=str)


def _without(tree: Mapping[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """Nested values without those at ``path``."""
    first, *rest = path
    inner = tree.get(first)
    if rest and isinstance(inner, Mapping):
        return {**tree, first: _without(inner, rest)}
    return dict(tree) if rest else {key: value for key, value in tree.items() if key != first}


def _names(groups: Sequence[Mapping[int, Row]]) -> list[str]:
    """The titles of the rows without their size; numbered if two are the same."""
    names: list[str] = []
    for group in groups:
        row = next(iter(group.values()))
        parts = [p for p in row.title.split(", ") if not _is_size(p)]
        name = ", ".join(filter(None, parts)) or row.runs[0].record.experiment
        same = sum(each == name or each.startswith(f"{name} (") for each in names)
        names.append(f"{name} ({same + 1})" if same else name)
    return names


def _is_size(part: str) -> bool:
    return part.partition("=")[0] in (SIZE_KEY, SIZE_KEY.partition(".")[2])


def _lines(names: Sequence[str], comparisons: Mapping[int, RunComparison]) -> list[CurveLine]:
    points: dict[str, list[CurvePoint]] = {name: [] for name in names}
    for size, comparison in comparisons.items():
        for each in comparison.contenders:
            if each.score is None or each.interval is None:  # it lacks probabilities
                continue
            name = each.name if each.runs else baseline_title(comparison, each)
            point = CurvePoint(
                train_texts=size,
                score=each.score,
                interval=each.interval,
                runs=each.runs,
                seeds=each.seeds if each.runs else (),
            )
            points.setdefault(name, []).append(point)
    return [
        CurveLine(name=name, baseline=name not in names, points=tuple(found))
        for name, found in points.items()
    ]


def _pairs(names: Sequence[str], comparisons: Mapping[int, RunComparison]) -> list[LinePair]:
    contenders = {
        size: {
            each.name if each.runs else baseline_title(comparison, each): each.name
            for each in comparison.contenders
        }
        for size, comparison in comparisons.items()
    }
    sign = next(iter(comparisons.values())).metric.sign
    found: dict[tuple[str, str], dict[int, tuple[float, float]]] = {}
    for a, b in itertools.combinations(names, 2):
        for size, comparison in comparisons.items():
            here = contenders[size]
            pair = standing(comparison, here[b], here[a]) if {a, b} <= here.keys() else None
            if pair is not None and pair.found is not None:
                tested = (pair.found.difference, pair.found.p)
                found.setdefault((a, b), {})[size] = tested
    corrected = iter(holm([p for by_size in found.values() for _, p in by_size.values()]))
    pairs = []
    for (a, b), by_size in found.items():
        tests = []
        for size, (difference, _) in by_size.items():
            p = next(corrected)
            tests.append(
                SizeTest(
                    train_texts=size,
                    difference=difference,
                    p_corrected=p,
                    verdict=verdict_on(sign * difference, p),
                )
            )
        crossings = _crossings(tests)
        pairs.append(
            LinePair(
                a=a,
                b=b,
                tests=tuple(tests),
                changes=len(crossings),
                crossover=crossings[0] if len(crossings) == 1 else None,
            )
        )
    return pairs


def _crossings(tests: Sequence[SizeTest]) -> list[Crossover]:
    """Every change of sign; sizes without a difference are passed over."""
    differing = [each for each in tests if each.difference]
    return [
        Crossover(
            after=one.train_texts,
            before=two.train_texts,
            estimate=_zero(one, two),
        )
        for one, two in itertools.pairwise(differing)
        if one.difference * two.difference < 0
    ]


def _zero(one: SizeTest, two: SizeTest) -> float:
    share = abs(one.difference) / (abs(one.difference) + abs(two.difference))
    start, end = math.log(one.train_texts), math.log(two.train_texts)
    return math.exp(start + share * (end - start))


def _reversed(pair: LinePair) -> LinePair:
    opposite: dict[Verdict, Verdict] = {"better": "worse", "worse": "better"}
    tests = tuple(
        msgspec.structs.replace(
            each,
            difference=0.0 - each.difference,
            verdict=opposite.get(each.verdict, each.verdict),
        )
        for each in pair.tests
    )
    return msgspec.structs.replace(pair, a=pair.b, b=pair.a, tests=tests)
