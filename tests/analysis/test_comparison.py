"""Comparisons of runs: contenders, verdicts, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from metric_examples import CATALOG, SHOWN
from record_examples import make_record, make_spec

from clsbench.analysis.comparison import compare_runs
from clsbench.analysis.figures import shown_metrics
from clsbench.analysis.metrics import split_metrics, wilson_interval
from clsbench.analysis.mistakes import mistakes
from clsbench.analysis.shared_texts import sharing_texts
from clsbench.components.values import Split, Splits
from clsbench.errors import UsageError
from clsbench.report.terminal.comparison import comparison_notes, verdict_text
from clsbench.results.predictions import write_baseline_predictions, write_predictions
from clsbench.results.store import StoredRun
from clsbench.schema.record import BaselineResult, Metrics

TEXTS = 200


def splits(first_row: int = 0) -> Splits:
    def split(name: str, count: int) -> Split:
        return Split(
            name=name,
            rows=tuple(range(first_row, first_row + count)),
            texts=tuple(f"text {n}" for n in range(count)),
            labels=tuple(n % 2 for n in range(count)),
        )

    return Splits(
        class_names=("ham", "spam"),
        train=split("train", 4),
        validation=split("validation", 4),
        test=split("test", TEXTS),
    )


def stored(
    folder: Path,
    name: str,
    wrong: range,
    baseline_wrong: range | None = None,
    texts: Splits | None = None,
    freezing: str = "all",
    seed: int = 123,
    baseline_sure: float | None = None,
    **changes: Any,
) -> StoredRun:
    """A finished run that misclassifies the ``wrong`` test texts.

    Its baseline gives the class that it predicts the probability ``baseline_sure``, if any.
    """
    made = texts or splits()
    path = folder / name
    path.mkdir()

    def predicted(wrong: range) -> np.ndarray:
        labels = np.array(made.test.labels)
        labels[list(wrong)] = 1 - labels[list(wrong)]
        return labels

    def metrics(wrong: range) -> Metrics:
        test = split_metrics(
            np.array(made.test.labels), predicted(wrong), 2, metrics=SHOWN.components
        )
        return Metrics(train=test, validation=test, test=test)

    sure = np.where(np.eye(2, dtype=bool)[predicted(wrong)], 0.9, 0.1)
    write_predictions(path, made, {"test": sure})
    baselines: tuple[BaselineResult, ...] = ()
    if baseline_wrong is not None:
        baselines = (
            BaselineResult(
                component="majority",
                metrics=metrics(baseline_wrong),
                seconds=0.1,
                probabilities=baseline_sure is not None,
            ),
        )
        answers = {s.name: np.array(s.labels) for s in made.all()} | {
            "test": predicted(baseline_wrong)
        }
        given = {
            name: np.where(np.eye(2, dtype=bool)[each], baseline_sure, 1 - (baseline_sure or 0))
            for name, each in answers.items()
        }
        probabilities = {"majority": given} if baseline_sure is not None else {}
        write_baseline_predictions(path, made, {"majority": answers}, probabilities)
    spec = make_spec(seed, {"name": freezing})
    fitting = {"metrics": metrics(wrong), "baselines": baselines}
    return StoredRun(path, make_record(spec=spec, **(fitting | changes)))


def test_compare_runs_reports_significant_differences_only(tmp_path: Path) -> None:
    one = stored(tmp_path, "one", range(30), fingerprint="1", freezing="all")
    two = stored(tmp_path, "two", range(5), fingerprint="2", freezing="head-only")
    three = stored(tmp_path, "three", range(2, 8), fingerprint="3", freezing="bias-only")
    found = compare_runs([one, two, three])
    assert [each.name for each in found.contenders] == ["all", "head-only", "bias-only"]
    assert [each.accuracy for each in found.contenders] == [0.85, 0.975, 0.97]
    assert [tuple(each.ranks) for each in found.contenders] == [(3, 3), (1, 2), (1, 2)]
    verdicts = {(pair.a, pair.b): pair.verdict for pair in found.pairs}
    assert verdicts == {
        ("all", "head-only"): "better",
        ("all", "bias-only"): "better",
        ("head-only", "bias-only"): "no difference shown",
    }
    pair = found.pairs[0]
    assert pair.found is not None
    assert pair.p_corrected is not None
    assert pair.p_corrected >= pair.found.p
    assert (pair.found.only_a, pair.found.only_b, pair.found.seeds) == (0, 25, 1)
    assert found.contenders[0].calibration is not None
    assert found.contenders[0].calibration.ece == pytest.approx(0.05)
    # Texts that most runs misclassify come first.
    assert [each.row for each in found.disagreements[:4]] == [0, 1, 5, 6]
    assert found.disagreements[0].predicted == {
        "all": "spam",
        "head-only": "spam",
        "bias-only": "ham",
    }
    assert len(found.disagreements) == 30 - 3


def test_compare_runs_baseline_with_probabilities_has_every_metric(tmp_path: Path) -> None:
    """One that a version without probabilities has stored is not compared by log-loss."""
    older = stored(tmp_path, "older", range(30), range(30))
    newer = stored(tmp_path, "newer", range(30), range(30), baseline_sure=0.6)
    shown = shown_metrics(CATALOG, [older.record], "log-loss")
    without, found = (compare_runs([run], metrics=shown) for run in (older, newer))
    assert [each.score is None for each in without.contenders] == [False, True]
    assert [pair.found for pair in without.pairs] == [None]
    run, baseline = found.contenders
    assert baseline.score == pytest.approx(-(170 * np.log(0.6) + 30 * np.log(0.4)) / 200)
    assert baseline.accuracy == run.accuracy == without.contenders[1].accuracy
    assert baseline.interval is not None
    assert baseline.interval[0] < baseline.score < baseline.interval[1]
    (pair,) = found.pairs
    assert pair.found is not None
    assert pair.found.difference == pytest.approx(baseline.score - (run.score or 0))
    assert pair.verdict == "worse"


def test_compare_runs_baseline_whose_runs_do_not_all_have_probabilities_is_not_compared(
    tmp_path: Path,
) -> None:
    """Of runs with one seed and equal predictions, it is enough if one has them."""
    sure = {"baseline_wrong": range(20), "baseline_sure": 0.9}
    runs = [
        stored(tmp_path, "one", range(30), range(20), fingerprint="1"),
        stored(tmp_path, "two", range(10), fingerprint="2", **sure),
        stored(tmp_path, "three", range(10), range(20), fingerprint="2", seed=124),
    ]
    shown = shown_metrics(CATALOG, [run.record for run in runs], "log-loss")
    assert compare_runs(runs[:2], metrics=shown).contenders[-1].score is not None
    assert compare_runs(runs, metrics=shown).contenders[-1].score is None
    sure["baseline_wrong"] = range(40)
    other = stored(tmp_path, "other", range(10), fingerprint="3", **sure)
    assert compare_runs([runs[0], other], metrics=shown).contenders[-1].score is None


def test_compare_runs_seeds_of_one_experiment_are_one_contender(tmp_path: Path) -> None:
    runs = [
        stored(tmp_path, f"{freezing}-{seed}", range(seed, seed + count), range(20),
               fingerprint=freezing, freezing=freezing, seed=seed)
        for freezing, count in (("all", 12), ("head-only", 16))
        for seed in (1, 2, 3)
    ]  # fmt: skip
    again = stored(tmp_path, "again", range(90), fingerprint="all", freezing="all", seed=2)
    found = compare_runs([*runs, again])
    first, second, baseline = found.contenders
    assert (first.seeds, second.seeds, baseline.seeds) == ((1, 2, 3), (1, 2, 3), ())
    assert first.accuracy == pytest.approx(1 - 12 / TEXTS), "the repeated run does not count"
    assert first.interval == wilson_interval(TEXTS - 12, TEXTS), (
        "at least as wide as that of one run"
    )
    assert baseline.name == "baseline majority"
    assert baseline.accuracy == 0.9
    assert baseline.calibration is None
    assert all(pair.found is not None and pair.found.seeds == 3 for pair in found.pairs)


def test_compare_runs_single_run_needs_a_baseline(tmp_path: Path) -> None:
    run = stored(tmp_path, "run", range(10), range(40))
    found = compare_runs([run])
    (pair,) = found.pairs
    assert pair.b == "baseline majority"
    assert pair.verdict == "worse"
    with pytest.raises(UsageError, match="there is nothing to compare"):
        compare_runs([stored(tmp_path, "alone", range(10))])


def test_compare_runs_without_a_common_seed_has_no_test(tmp_path: Path) -> None:
    one = stored(tmp_path, "one", range(3), fingerprint="1", freezing="all", seed=1)
    two = stored(tmp_path, "two", range(90), fingerprint="2", freezing="bias-only", seed=2)
    found = compare_runs([one, two])
    assert found.pairs[0].found is None
    assert [tuple(each.ranks) for each in found.contenders] == [(1, 2), (1, 2)]


def test_compare_runs_seeds_of_one_side_only_are_left_out_and_named(tmp_path: Path) -> None:
    runs = [
        stored(tmp_path, f"all-{seed}", range(seed), fingerprint="1", freezing="all", seed=seed)
        for seed in (1, 2, 3)
    ]
    one = stored(tmp_path, "one", range(9), range(9), fingerprint="2", freezing="bias-only", seed=2)
    found = compare_runs([*runs, one])
    pair, *with_baseline = found.pairs
    assert pair.unpaired_seeds == (1, 3)
    assert pair.found is not None
    assert pair.found.difference == pytest.approx((2 - 9) / TEXTS), "on seed 2"
    assert not any(each.unpaired_seeds for each in with_baseline)
    assert "(without seeds 1 and 3, which only one of them has)" in verdict_text(pair, found.metric)
    (note,) = comparison_notes(found)
    assert note.startswith(
        "1 pair is compared only on the seeds that both sides have, for example all"
    )


def test_compare_runs_different_test_texts_are_refused(tmp_path: Path) -> None:
    one = stored(tmp_path, "one", range(3), fingerprint="1")
    other = stored(tmp_path, "other", range(3), texts=splits(50), fingerprint="2")
    with pytest.raises(UsageError, match="they were evaluated on different test texts"):
        compare_runs([one, other])
    data = msgspec.structs.replace(one.record.data, sha256="f" * 64)
    changed = one._replace(record=msgspec.structs.replace(one.record, data=data))
    with pytest.raises(UsageError, match="hash ffffffff"):
        compare_runs([one, changed])


def test_compare_runs_different_training_texts_are_compared(
    tmp_path: Path,
) -> None:
    data = make_record().data
    assert data is not None

    def run(name: str, train: str, sha256: str, row: int = 0) -> StoredRun:
        hashes = {"train": train, "validation": "v", "test": "t"}
        facts = msgspec.structs.replace(data, sha256=sha256, texts_sha256=hashes)
        return stored(
            tmp_path, name, range(3), range(9), texts=splits(row), fingerprint=name, data=facts
        )

    first, moved, other = run("1", "a", "1"), run("2", "a", "2", row=7), run("3", "b", "3")
    alike = compare_runs([first, moved])
    assert alike.differing_splits == ()
    assert comparison_notes(alike) == []
    found = compare_runs([other, first, moved])
    assert len(found.contenders) == 4
    assert found.contenders[-1].name == "baseline majority"
    assert found.differing_splits == ("train",)
    (note,) = comparison_notes(found)
    assert note == (
        "The test texts are the same, but the runs have different train texts; the baselines are "
        "those of the run with the most training texts."
    )
    assert sharing_texts([first, moved, other]) == [first, moved, other]
    assert mistakes({"1": first, "3": other}).texts == TEXTS


def test_texts_keys_older_run_matches_runs_with_the_same_splits(
    tmp_path: Path,
) -> None:
    old = stored(tmp_path, "old", range(3), fingerprint="old")
    data = old.record.data
    assert data is not None
    hashes = {"train": "a", "validation": "v", "test": "t"}
    new, other = (
        stored(tmp_path, name, range(5), fingerprint=name, data=msgspec.structs.replace(
            data, sha256=sha256, texts_sha256=hashes
        ))
        for name, sha256 in (("new", data.sha256), ("other", "cd" * 32))
    )  # fmt: skip
    assert len(compare_runs([old, new, other]).contenders) == 3
    with pytest.raises(UsageError, match="they were evaluated on different test texts"):
        compare_runs([old, other])


def test_compare_runs_unfinished_run_is_refused(tmp_path: Path) -> None:
    one = stored(tmp_path, "one", range(3))
    failed = one._replace(record=msgspec.structs.replace(one.record, status="interrupted"))
    with pytest.raises(UsageError, match="one is interrupted: only finished runs are compared"):
        compare_runs([failed])


def test_compare_runs_equal_choices_are_named_by_directory(tmp_path: Path) -> None:
    one = stored(tmp_path, "one", range(3), fingerprint="1")
    two = stored(tmp_path, "two", range(3), fingerprint="2")
    assert [each.name for each in compare_runs([one, two]).contenders] == ["one", "two"]


def test_compare_runs_names_the_run_of_a_baseline_that_predicts_differently_in_others(
    tmp_path: Path,
) -> None:
    one = stored(tmp_path, "one", range(3), range(9), fingerprint="1", freezing="all")
    two = stored(tmp_path, "two", range(5), range(8), fingerprint="2", freezing="bias-only")
    *_, baseline = compare_runs([one, two]).contenders
    assert (baseline.accuracy, baseline.predicted_in) == (1 - 9 / TEXTS, "all")
    (note,) = comparison_notes(compare_runs([one, two]))
    assert note == (
        "The runs have different features, so the predictions of majority differ; those of all "
        "are used."
    )
    alike = stored(tmp_path, "alike", range(5), range(9), fingerprint="3", freezing="head-only")
    assert comparison_notes(compare_runs([one, alike])) == []
