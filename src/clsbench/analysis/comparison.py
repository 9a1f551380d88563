"""Compare runs with the same test texts: metrics, pairwise tests, ranks, disagreements."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import msgspec
import numpy as np

from clsbench.analysis.calibration import Calibration, calibration
from clsbench.analysis.figures import (
    WITHOUT_LEAKED,
    MetricInfo,
    ShownMetrics,
    mean_scores,
)
from clsbench.analysis.measured import Measured, measure, paired
from clsbench.analysis.metrics import are_right, with_metrics
from clsbench.analysis.paired import (
    Difference,
    RankRange,
    Verdict,
    holm,
    rank_ranges,
    verdict_on,
)
from clsbench.analysis.prediction_time import (
    baseline_seconds_per_1000,
    found_seconds,
    seconds_per_1000,
)
from clsbench.analysis.seeds import spread
from clsbench.analysis.shared_texts import (
    differing_splits,
    refuse_other_texts,
    texts_keys,
)
from clsbench.analysis.sides import (
    Side,
    baseline_answers,
    baseline_sides,
    sides_of,
    train_texts,
)
from clsbench.components.labels import NO_CLASS, Label, label_text, labels_of
from clsbench.errors import UsageError
from clsbench.results.predictions import Predictions, read_predictions
from clsbench.results.store import StoredRun
from clsbench.schema.record import BaselineResult, SplitMetrics


class Contender(msgspec.Struct, frozen=True, kw_only=True):
    """Runs of one experiment that differ in their seed, or a baseline.

    ``score`` is the primary metric, the mean over ``seeds`` (empty for most baselines), with its
    standard deviation and 95 % interval; for the accuracy, that of
    :func:`~clsbench.analysis.seeds.accuracy_interval`. It is ``None`` for a baseline that lacks
    probabilities that the metric needs; ``ranks`` are ``None``, too. ``accuracy``,
    ``calibration_error`` and ``brier`` are means over the seeds, ``calibration`` is that of the
    first. With ``prefix_found``, the seconds
    exclude a cached part of the frozen prefix (:func:`training_cost`).
    ``stand_ins`` names the replacements of missing assets. ``title`` and ``baseline_seconds``,
    the mean time of fitting and predicting, are set for baselines only. ``prediction_seconds`` is
    the time to classify 1,000 texts (:mod:`clsbench.analysis.prediction_time`). ``timed_on`` names
    the devices of the runs, with the threads of a CPU: times measured elsewhere are not comparable.
    ``scores`` are the test split's other metrics by column, means over the seeds. ``train_texts``
    is the number of training texts. ``predicted_in`` names the contender of whose runs a baseline's
    predictions are, if it predicts differently in others.
    """

    name: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    accuracy: float
    score: float | None
    score_sd: float | None
    interval: tuple[float, float] | None
    accuracy_without_leaked: float | None
    calibration_error: float | None
    brier: float | None
    calibration: Calibration | None
    trainable_parameters: int | None
    prefix_and_training_seconds: float | None
    prefix_found: bool
    ranks: RankRange | None
    stand_ins: tuple[str, ...]
    title: str = ""
    baseline_seconds: float | None = None
    prediction_seconds: float | None = None
    timed_on: tuple[str, ...] = ()
    scores: dict[str, float] = {}
    train_texts: int = 0
    predicted_in: str = ""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """``b`` against ``a``, with Holm's correction over all pairs in ``p_corrected``.

    ``found`` and ``verdict`` are ``None`` if the sides have no seed in common, or if one lacks the
    primary metric. ``unpaired_seeds`` are the seeds that only one side has; they are not part of
    the test.
    """

    a: str
    b: str
    unpaired_seeds: tuple[int, ...] = ()
    found: Difference | None
    p_corrected: float | None
    verdict: Verdict | None

    def reversed(self) -> Pair:
        """``a`` against ``b``."""
        opposite: dict[Verdict, Verdict] = {"better": "worse", "worse": "better"}
        return msgspec.structs.replace(
            self,
            a=self.b,
            b=self.a,
            found=self.found.reversed() if self.found is not None else None,
            verdict=opposite.get(self.verdict, self.verdict) if self.verdict is not None else None,
        )


class Disagreement(msgspec.Struct, frozen=True, kw_only=True):
    """A text on which contenders disagree: its row in the corpus, its class, and the class that
    each contender predicted in its first run."""

    row: int
    label: str
    predicted: dict[str, str]


class RunComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Contenders and pairs on the same ``texts`` test texts, whose hash is ``test_sha256``.

    ``metric`` is the primary metric, in which they are compared.
    ``differing_splits`` lists which of train and validation differ; if train does, the baselines
    are those of the run with the most training texts, or of the first of these.
    """

    texts: int
    metric: MetricInfo
    test_sha256: str
    differing_splits: tuple[str, ...]
    class_names: tuple[str, ...]
    contenders: tuple[Contender, ...]
    pairs: tuple[Pair, ...]
    disagreements: tuple[Disagreement, ...]


def compare_runs(
    runs: Sequence[StoredRun],
    names: Mapping[str, str] | None = None,
    allow_single: bool = False,
    metrics: ShownMetrics | None = None,
) -> RunComparison:
    """Compare finished runs; those of one experiment are one contender with several seeds.

    The baselines of the runs are contenders too. ``names`` gives a name for each run by directory
    name; by default, runs are named by the choices that distinguish them. ``allow_single``
    permits a comparison of a single contender. The primary one of ``metrics`` (default: the
    accuracy) is compared.

    Raises:
        UndefinedMetricError: the primary metric is undefined for the test texts.
        UsageError: there are fewer than two contenders, a run did not finish, or the test texts
            differ.
    """
    predictions = [(run, _predictions_of(run)) for run in runs]
    refuse_other_texts(predictions)
    first = predictions[0][1]
    sides = [*sides_of(predictions, names), *baseline_sides(predictions)]
    if len(sides) < 2 and not allow_single:
        raise UsageError(
            "there is nothing to compare: the runs are of one experiment and have no baselines; "
            "name runs of another experiment, too"
        )
    metrics = metrics or ShownMetrics()
    measured = [measure(side, metrics) for side in sides]
    places = list(itertools.combinations(range(len(sides)), 2))
    found = [paired(measured[i], measured[j]) for i, j in places]
    known = [each for each in found if each is not None]
    corrected = iter(holm([each.p for each in known]))
    pairs = [_pair(sides[i], sides[j], d, corrected, metrics.primary)
             for (i, j), d in zip(places, found, strict=True)]  # fmt: skip
    verdicts: list[list[Verdict | None]] = [[None] * len(sides) for _ in sides]
    for (i, j), pair in zip(places, pairs, strict=True):
        verdicts[i][j], verdicts[j][i] = pair.reversed().verdict, pair.verdict
    ranked = [place for place, each in enumerate(measured) if each.values]
    ranges = rank_ranges([[verdicts[i][j] for j in ranked] for i in ranked])
    ranks = dict(zip(ranked, ranges, strict=True))
    return RunComparison(
        texts=len(first.rows),
        metric=metrics.primary,
        test_sha256=texts_keys(runs)[0],
        differing_splits=differing_splits(runs),
        class_names=first.class_names,
        contenders=tuple(
            _contender(side, each, ranks.get(place), metrics, _predicted_in(side, sides))
            for place, (side, each) in enumerate(zip(sides, measured, strict=True))
        ),
        pairs=tuple(pairs),
        disagreements=_disagreements(sides, first),
    )


# --- contenders -----------------------------------------------------------------------------------


def _predictions_of(run: StoredRun) -> Predictions:
    if run.record.status != "finished" or run.record.data is None:
        raise UsageError(
            f"the run {run.path.name} is {run.record.status}: only finished runs are compared"
        )
    return read_predictions(run)


# --- pairs ----------------------------------------------------------------------------------------


def _pair(
    one: Side, other: Side, found: Difference | None, corrected: Any, metric: MetricInfo
) -> Pair:
    a, b = one.name, other.name
    if found is None:
        return Pair(a=a, b=b, found=None, p_corrected=None, verdict=None)
    p = next(corrected)
    unpaired: set[int | None] = set()
    if None not in one.predicted and None not in other.predicted:
        unpaired = one.predicted.keys() ^ other.predicted.keys()
    return Pair(
        a=a,
        b=b,
        unpaired_seeds=tuple(sorted(seed for seed in unpaired if seed is not None)),
        found=found,
        p_corrected=p,
        verdict=verdict_on(metric.sign * found.difference, p),
    )


def _predicted_in(side: Side, sides: Sequence[Side]) -> str:
    if not side.differs:
        return ""
    return next(each.name for each in sides if side.runs[0] in each.runs and each is not side)


def _contender(
    side: Side,
    measured: Measured,
    ranks: RankRange | None,
    metrics: ShownMetrics,
    predicted_in: str,
) -> Contender:
    cost = training_cost(side.runs)
    record = side.runs[0].record
    trained = bool(side.predictions)
    calibrations = [
        calibration(a.labels, a.probabilities)
        for a in side.predictions.values()
        if a.labels.ndim == 1  # several classes of a text have no one confidence
    ]
    results = [] if trained else _baseline_results(side)
    tests = _tests(side, metrics)
    score = spread(list(measured.values.values()), metrics.primary.limits)
    return Contender(
        name=side.name,
        runs=tuple(run.path.name for run in side.runs) if trained else (),
        seeds=tuple(seed for seed in side.predicted if seed is not None),
        accuracy=fmean(float(each.mean()) for each in measured.correct.values()),
        score=score.mean if score is not None else None,
        score_sd=score.sd if score is not None else None,
        interval=measured.interval,
        accuracy_without_leaked=_mean([WITHOUT_LEAKED.read(each) for each in tests]),
        calibration_error=_mean([each.ece for each in calibrations]),
        brier=_mean([each.brier for each in calibrations]),
        calibration=calibrations[0] if calibrations else None,
        trainable_parameters=record.parameters.trainable if trained and record.parameters else None,
        prefix_and_training_seconds=cost.seconds if trained else None,
        prefix_found=trained and cost.prefix_found,
        ranks=ranks,
        stand_ins=tuple(dict.fromkeys(s.by for run in side.runs for s in run.record.stand_ins)),
        timed_on=tuple(dict.fromkeys(map(_timed_on, side.runs))) if trained else (),
        title=next((each.title for each in results), ""),
        baseline_seconds=_mean([each.seconds for each in results]),
        prediction_seconds=seconds_per_1000(side.runs)
        if trained
        else baseline_seconds_per_1000(side.runs, results),
        scores=mean_scores(tests, metrics.others),
        train_texts=train_texts(side.runs[0]),
        predicted_in=predicted_in,
    )


def _tests(side: Side, metrics: ShownMetrics) -> list[SplitMetrics]:
    """The metrics on the test texts of each run; those that a record lacks are computed."""
    found = []
    for run in side.runs:
        seed = int(run.record.spec["seed"])
        if each := side.predictions.get(seed):
            assert run.record.metrics is not None
            test = run.record.metrics.test
            given = (each.labels, each.predicted, each.probabilities, side.num_classes)
            found.append(with_metrics(test, metrics.components, *given))
    for result, predicted, probabilities in baseline_answers(side) if not side.predictions else ():
        test, answers = result.metrics.test, (predicted, probabilities, side.num_classes)
        found.append(with_metrics(test, metrics.components, side.labels, *answers))
    return found


def _timed_on(run: StoredRun) -> str:
    """The device, and on a CPU the threads: ``AMD EPYC, 2 threads``."""
    environment = run.record.environment
    if environment.device != "cpu":
        return environment.device_name
    threads = environment.threads
    return f"{environment.device_name}, {threads} thread{'' if threads == 1 else 's'}"


class Cost(NamedTuple):
    """The training time of a classifier; ``prefix_found``: it excludes frozen layers that were
    cached and whose time is unknown, so from scratch it takes longer."""

    seconds: float | None
    prefix_found: bool


def training_cost(runs: Sequence[StoredRun]) -> Cost:
    """The mean time of the frozen prefix and the training over runs of one experiment.

    The time of a prefix that an earlier run computed is part of it, so that the cost does not
    depend on what was cached. If it is unknown for some of the runs, it is the mean over the
    others.
    """
    phases = [run.record.phases_seconds for run in runs]
    training = _mean([each.get("training") for each in phases])
    complete = [run for run in runs if not found_prefix(run)]
    prefix = [
        run.record.phases_seconds.get("prefix", 0.0) + found_seconds(run.record)
        for run in complete or runs
    ]
    if training is None:
        return Cost(None, prefix_found=not complete)
    return Cost(training + fmean(prefix), prefix_found=not complete)


def reused_prefix(run: StoredRun) -> bool:
    """Whether the run reused cached activations of an earlier run."""
    kept = run.record.fast_path.kept if run.record.fast_path is not None else None
    return kept is not None and kept.found + kept.continued > 0


def found_prefix(run: StoredRun) -> bool:
    """Whether the run reused cached activations whose computation took an unknown time."""
    kept = run.record.fast_path.kept if run.record.fast_path is not None else None
    return reused_prefix(run) and kept is not None and kept.found_seconds is None


def _baseline_results(side: Side) -> list[BaselineResult]:
    return [result for result, *_ in baseline_answers(side)]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _disagreements(sides: Sequence[Side], first: Predictions) -> tuple[Disagreement, ...]:
    """Texts on which sides disagree, those that most sides misclassify first."""
    predicted = [next(iter(side.predicted.values())) for side in sides]
    wrong = np.sum([~are_right(first.labels, each) for each in predicted], axis=0)
    differing = np.flatnonzero(~np.all([are_right(predicted[0], e) for e in predicted], axis=0))
    labels, *answers = ([_text(label, first) for label in labels_of(each)]
                        for each in (first.labels, *predicted))  # fmt: skip
    return tuple(
        Disagreement(
            row=int(first.rows[text]),
            label=labels[text],
            predicted={s.name: each[text] for s, each in zip(sides, answers, strict=True)},
        )
        for text in sorted(differing, key=lambda text: (-wrong[text], text))
    )


def _text(label: Label, predictions: Predictions) -> str:
    return label_text(label, predictions.class_names) or NO_CLASS
