"""Runs that answered the same texts, compared: which is better, if any is shown to be."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import msgspec
import numpy as np

from clsbench.analysis.calibration import Calibration, calibration
from clsbench.analysis.figures import WITHOUT_LEAKED, mean_scores
from clsbench.analysis.paired import (
    Correct,
    Difference,
    RankRange,
    Verdict,
    compare_correct,
    holm,
    rank_ranges,
    verdict_on,
)
from clsbench.analysis.seeds import accuracy_interval
from clsbench.analysis.shared_texts import (
    differing_splits,
    refuse_other_texts,
    texts_keys,
    trained_alike,
)
from clsbench.errors import UsageError
from clsbench.results.predictions import Predictions, read_predictions
from clsbench.results.run_names import names_of
from clsbench.results.store import StoredRun
from clsbench.schema.record import BaselineResult

BASELINE = "baseline "
"""The prefix of a baseline's name as a contender; its component follows."""


class Contender(msgspec.Struct, frozen=True, kw_only=True):
    """Runs of one experiment that differ in their seed, or a baseline.

    ``accuracy`` is the mean over ``seeds`` (none for a baseline); ``interval`` that of
    :func:`~clsbench.analysis.seeds.accuracy_interval`. ``calibration_error`` and ``brier`` are
    means over the seeds, ``calibration`` is that of the first. With ``prefix_found`` the seconds
    hold only what was left of the prefix to be computed: :func:`training_cost`.
    ``stand_ins`` names what took the place of missing assets. ``title`` and ``baseline_seconds``,
    the mean time of fitting and predicting, are set for baselines only. ``timed_on`` names the
    devices of the runs, with the threads of a CPU: times measured elsewhere are not comparable.
    ``scores`` are the test split's other metrics by name, means over the seeds.
    """

    name: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    accuracy: float
    interval: tuple[float, float]
    accuracy_without_leaked: float | None
    calibration_error: float | None
    brier: float | None
    calibration: Calibration | None
    trainable_parameters: int | None
    prefix_and_training_seconds: float | None
    prefix_found: bool
    ranks: RankRange
    stand_ins: tuple[str, ...]
    title: str = ""
    baseline_seconds: float | None = None
    timed_on: tuple[str, ...] = ()
    scores: dict[str, float] = {}


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """``b`` against ``a``, with Holm's correction over all pairs in ``p_corrected``.

    ``found`` is ``None``, and ``verdict`` too, where they share no seed to be paired by; where they
    share some, ``unpaired_seeds`` are those that one alone was run with, which take no part.
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
    """A text on which contenders disagree: its row in the corpus, its class, and what each called
    it (in the first run)."""

    row: int
    label: str
    called: dict[str, str]


class RunComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Contenders on the same ``texts`` test texts (``test_sha256``), by name.

    ``differing_splits`` lists which of train and validation differ; the baselines are then those
    fitted on the first run's training texts.
    """

    texts: int
    test_sha256: str
    differing_splits: tuple[str, ...]
    class_names: tuple[str, ...]
    contenders: tuple[Contender, ...]
    pairs: tuple[Pair, ...]
    disagreements: tuple[Disagreement, ...]


class _Side(NamedTuple):
    name: str
    runs: tuple[StoredRun, ...]
    answers: Mapping[int | None, Predictions]
    called: Mapping[int | None, np.ndarray]
    """By seed; that of a baseline is ``None``."""


def compare_runs(
    runs: Sequence[StoredRun], names: Mapping[str, str] | None = None, alone: bool = False
) -> RunComparison:
    """Compare finished runs; those of one experiment are one contender with several seeds.

    The baselines of the runs take part, too. ``names`` says what to call the runs, by their
    directories; otherwise they are named by the choices that distinguish them. ``alone`` allows a
    single contender.

    Raises:
        UsageError: there are fewer than two contenders, a run did not finish, or the runs did not
            answer the same texts.
    """
    answers = [(run, _answers_of(run)) for run in runs]
    refuse_other_texts(answers)
    first = answers[0][1]
    sides = [*_sides(answers, names), *_baselines(answers)]
    if len(sides) < 2 and not alone:
        raise UsageError(
            "there is nothing to compare: the runs named are one experiment, and no baselines were "
            "kept with them"
        )
    correct = {
        side.name: {seed: called == first.labels for seed, called in side.called.items()}
        for side in sides
    }
    places = list(itertools.combinations(range(len(sides)), 2))
    found = [_paired(correct[sides[i].name], correct[sides[j].name]) for i, j in places]
    known = [each for each in found if each is not None]
    corrected = iter(holm([each.p for each in known]))
    pairs = [_pair(sides[i], sides[j], d, corrected)
             for (i, j), d in zip(places, found, strict=True)]  # fmt: skip
    verdicts: list[list[Verdict | None]] = [[None] * len(sides) for _ in sides]
    for (i, j), pair in zip(places, pairs, strict=True):
        verdicts[i][j], verdicts[j][i] = pair.reversed().verdict, pair.verdict
    ranks = rank_ranges(verdicts)
    return RunComparison(
        texts=len(first.rows),
        test_sha256=texts_keys(runs)[0],
        differing_splits=differing_splits(runs),
        class_names=first.class_names,
        contenders=tuple(
            _contender(side, correct[side.name], rank)
            for side, rank in zip(sides, ranks, strict=True)
        ),
        pairs=tuple(pairs),
        disagreements=_disagreements(sides, first),
    )


# --- who takes part -------------------------------------------------------------------------------


def _answers_of(run: StoredRun) -> Predictions:
    if run.record.status != "finished" or run.record.data is None:
        raise UsageError(
            f"the run {run.path.name} is {run.record.status}: only finished runs are compared"
        )
    return read_predictions(run)


def _sides(
    answers: Sequence[tuple[StoredRun, Predictions]], given: Mapping[str, str] | None
) -> list[_Side]:
    groups: dict[str, dict[int, tuple[StoredRun, Predictions]]] = {}
    for run, each in answers:
        environment = run.record.environment
        key = f"{run.record.fingerprint} {environment.device.partition(':')[0]} "
        key += environment.precision
        # A run that was repeated says nothing new.
        groups.setdefault(key, {}).setdefault(int(run.record.spec["seed"]), (run, each))
    firsts = [next(iter(group.values()))[0] for group in groups.values()]
    names = names_of(firsts) if given is None else [given[run.path.name] for run in firsts]
    return [
        _Side(
            name,
            tuple(run for run, _ in group.values()),
            {seed: each for seed, (_, each) in group.items()},
            {seed: each.predicted for seed, (_, each) in group.items()},
        )
        for name, group in zip(names, groups.values(), strict=True)
    ]


def _baselines(answers: Sequence[tuple[StoredRun, Predictions]]) -> list[_Side]:
    """Each baseline with its predictions by seed, or once if they are the same for every seed."""
    found: dict[str, dict[int, tuple[StoredRun, np.ndarray]]] = {}
    first, _ = answers[0]
    for run, each in answers:
        for name, answer in each.baselines.items() if trained_alike(first, run) else ():
            found.setdefault(name, {}).setdefault(int(run.record.spec["seed"]), (run, answer))
    sides = []
    for name, by_seed in found.items():
        called: dict[int | None, np.ndarray] = {seed: each for seed, (_, each) in by_seed.items()}
        one, *others = called.values()
        if all(np.array_equal(one, other) for other in others):
            called = {None: one}
        sides.append(_Side(f"{BASELINE}{name}", tuple(r for r, _ in by_seed.values()), {}, called))
    return sides


# --- how they compare -----------------------------------------------------------------------------


def _paired(
    a: Mapping[int | None, np.ndarray], b: Mapping[int | None, np.ndarray]
) -> Difference | None:
    """B against A on the seeds of both; a baseline stands beside every seed."""
    seeds = [seed for seed in a if seed in b]
    if None in a or None in b:
        seeds = list(a if None in b else b)
    if not seeds:
        return None

    def rows(side: Mapping[int | None, np.ndarray]) -> Correct:
        return np.stack([side[None] if None in side else side[seed] for seed in seeds])

    return compare_correct(rows(a), rows(b))


def _pair(one: _Side, other: _Side, found: Difference | None, corrected: Any) -> Pair:
    a, b = one.name, other.name
    if found is None:
        return Pair(a=a, b=b, found=None, p_corrected=None, verdict=None)
    p = next(corrected)
    unpaired: set[int | None] = set()
    if None not in one.called and None not in other.called:
        unpaired = one.called.keys() ^ other.called.keys()
    return Pair(
        a=a,
        b=b,
        unpaired_seeds=tuple(sorted(seed for seed in unpaired if seed is not None)),
        found=found,
        p_corrected=p,
        verdict=verdict_on(found.difference, p),
    )


def _contender(
    side: _Side, correct: Mapping[int | None, np.ndarray], ranks: RankRange
) -> Contender:
    accuracies = [float(each.mean()) for each in correct.values()]
    texts = len(next(iter(correct.values())))
    cost = training_cost(side.runs)
    calibrations = [calibration(a.labels, a.probabilities) for a in side.answers.values()]
    record = side.runs[0].record
    trained = bool(calibrations)
    results = [] if trained else _baseline_results(side)
    tests = [m.test for m in (*(r.record.metrics for r in side.runs if trained),
                              *(each.metrics for each in results)) if m is not None]  # fmt: skip
    ece = _mean([each.ece for each in calibrations])
    brier = _mean([each.brier for each in calibrations])
    # Older records lack the calibration, which the stored predictions give.
    known = {name: value for name, value in (("ece", ece), ("brier", brier)) if value is not None}
    return Contender(
        name=side.name,
        runs=tuple(run.path.name for run in side.runs) if trained else (),
        seeds=tuple(seed for seed in side.called if seed is not None),
        accuracy=fmean(accuracies),
        interval=accuracy_interval(accuracies, texts),
        accuracy_without_leaked=_mean([WITHOUT_LEAKED.read(each) for each in tests]),
        calibration_error=ece,
        brier=brier,
        calibration=calibrations[0] if trained else None,
        trainable_parameters=record.parameters.trainable if trained and record.parameters else None,
        prefix_and_training_seconds=cost.seconds if trained else None,
        prefix_found=trained and cost.prefix_found,
        ranks=ranks,
        stand_ins=tuple(dict.fromkeys(s.by for run in side.runs for s in run.record.stand_ins)),
        timed_on=tuple(dict.fromkeys(map(_timed_on, side.runs))) if trained else (),
        title=next((each.title for each in results), ""),
        baseline_seconds=_mean([each.seconds for each in results]),
        scores=mean_scores(tests) | known,
    )


def _timed_on(run: StoredRun) -> str:
    """The device, and on a CPU the threads: ``AMD EPYC, 2 threads``."""
    environment = run.record.environment
    if environment.device != "cpu":
        return environment.device_name
    threads = environment.threads
    return f"{environment.device_name}, {threads} thread{'' if threads == 1 else 's'}"


class Cost(NamedTuple):
    """What a trained classifier takes; ``prefix_found``: other runs had computed frozen layers of
    it, so that alone it takes longer."""

    seconds: float | None
    prefix_found: bool


def training_cost(runs: Sequence[StoredRun]) -> Cost:
    """The frozen prefix and the training, on average over runs of one experiment.

    Where some of them computed the whole prefix themselves, the prefix is that of these.
    """
    phases = [run.record.phases_seconds for run in runs]
    training = _mean([each.get("training") for each in phases])
    alone = [run for run in runs if not found_prefix(run)]
    prefix = [run.record.phases_seconds.get("prefix", 0.0) for run in alone or runs]
    if training is None:
        return Cost(None, prefix_found=not alone)
    return Cost(training + fmean(prefix), prefix_found=not alone)


def found_prefix(run: StoredRun) -> bool:
    """Whether it found frozen layers that an earlier run had computed, or went on from some."""
    kept = run.record.fast_path.kept if run.record.fast_path is not None else None
    return kept is not None and kept.found + kept.continued > 0


def _baseline_results(side: _Side) -> list[BaselineResult]:
    name = side.name.removeprefix(BASELINE)
    return [b for run in side.runs for b in run.record.baselines if b.component == name]


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def _disagreements(sides: Sequence[_Side], first: Predictions) -> tuple[Disagreement, ...]:
    """In the order of how many called the text wrongly."""
    called = np.stack([next(iter(side.called.values())) for side in sides])
    wrong = (called != first.labels).sum(axis=0)
    differing = np.flatnonzero((called != called[0]).any(axis=0))
    return tuple(
        Disagreement(
            row=int(first.rows[text]),
            label=first.class_names[first.labels[text]],
            called={
                side.name: first.class_names[called[place, text]]
                for place, side in enumerate(sides)
            },
        )
        for text in sorted(differing, key=lambda text: (-wrong[text], text))
    )
