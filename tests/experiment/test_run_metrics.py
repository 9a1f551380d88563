"""Runs with other metrics than the usual ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import SMALL, run_small, stored

import clsbench
from clsbench.components.catalog import load_catalog
from clsbench.components.resolve import find_spec, resolve
from clsbench.experiment.run import FinishedRun
from clsbench.results.store import read_record

PLUGIN = """
import clsbench

class Never(clsbench.Metric):
    "A metric that is never defined."

    def compute(self, labels, probabilities):
        raise ValueError("it never is")

class Broken(clsbench.Metric):
    "A metric that fails."

    def compute(self, labels, probabilities):
        return labels.no_such_attribute

class Both(clsbench.Metric):
    "A metric for several labels."

    tasks = ("multi-label",)

    def compute(self, labels, probabilities):
        return 1.0

class Power(clsbench.Metric):
    "The accuracy to some power."

    power: float = 1.0
    needs_probabilities = False

    def compute(self, labels, probabilities):
        return float((probabilities.argmax(axis=1) == labels).mean()) ** self.power

@clsbench.hookimpl
def clsbench_register_metrics():
    return {"never": Never, "broken": Broken, "both": Both, "power": Power}
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("plugin") / "measures.py"
    path.write_text(PLUGIN)
    return str(path)


@pytest.fixture(scope="module")
def selected(plugin: str, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """Selected by the Brier score, with an undefined metric and one with an option."""
    return run_small(
        tmp_path_factory.mktemp("runs"),
        plugins=[plugin],
        metrics=["never", "power:power=2", "power:power=1", "roc-auc"],
        metric="brier",
        train__select="best-validation",
    )


def test_run_records_the_listed_metrics_that_are_defined(selected: FinishedRun) -> None:
    record = read_record(stored(selected))
    assert record.metrics is not None
    test = record.metrics.test
    assert set(test.scores) == {"power:power=2.0", "power", "roc-auc"}
    assert test.scores["power"] == pytest.approx(test.accuracy)
    assert test.scores["power:power=2.0"] == pytest.approx(test.accuracy**2)
    assert test.macro_f1 is None, "not listed"
    assert test.brier is not None
    low, high = test.intervals["brier"]
    assert low <= test.brier <= high
    assert record.metrics.validation.intervals.keys() == {"brier"}
    assert not record.metrics.train.intervals
    baseline = record.baselines[0].metrics.test
    assert set(baseline.scores) == {"power:power=2.0", "power", "roc-auc"}
    assert baseline.scores["roc-auc"] == 0.5, "it gives every text the same probabilities"


def test_run_selects_the_epoch_with_the_best_primary_metric(selected: FinishedRun) -> None:
    history = selected.record.history
    assert history is not None
    found = history.selection
    assert found is not None
    assert found.metric == "brier"
    assert found.best_epoch == found.scores.index(min(found.scores)) + 1
    assert selected.record.metrics is not None
    used = found.scores[found.best_epoch - 1]
    assert selected.record.metrics.validation.brier == pytest.approx(used, rel=1e-5)
    assert selected.record.plugins[-1].axis == "metric"


def test_fingerprint_has_the_metric_only_if_it_selects(plugin: str, tmp_path: Path) -> None:
    def fingerprint(**changes: object) -> str:
        plain = {"plain": True}  # without planning shortcuts, which takes time
        run = run_small(tmp_path, dry_run=True, given=plain, plugins=[plugin], **changes)
        return run.record.fingerprint

    usual = fingerprint()
    assert fingerprint(metric="macro-f1", metrics=["power"]) == usual
    best = {"train__select": "best-validation"}
    by_accuracy = fingerprint(**best)
    assert fingerprint(metric="macro-f1", **best) != by_accuracy
    assert fingerprint(metrics=["power"], **best) == by_accuracy
    assert fingerprint(metric="macro-f1", train__patience=1) != fingerprint(train__patience=1)


@pytest.mark.parametrize("dry_run", [True, False])
def test_run_undefined_primary_metric_is_refused_before_training(
    dry_run: bool, plugin: str, tmp_path: Path
) -> None:
    message = r"never is undefined: it never is \(validation split\); choose another primary metric"
    with pytest.raises(clsbench.UsageError, match=message):
        run_small(tmp_path, plugins=[plugin], metric="never", dry_run=dry_run)
    assert not list(tmp_path.iterdir())


def test_run_failing_metric_is_refused_before_training(plugin: str, tmp_path: Path) -> None:
    with pytest.raises(clsbench.PluginError, match="metric broken failed: AttributeError"):
        run_small(tmp_path, plugins=[plugin], metrics=["broken"])
    assert not list(tmp_path.iterdir())


def test_resolve_metric_for_several_labels_is_refused(plugin: str) -> None:
    catalog = load_catalog([plugin])
    with pytest.raises(clsbench.UsageError, match="metric 'both' is for multi-label data"):
        resolve(find_spec("gpt2-sms-spam", catalog), SMALL | {"metric": "both"}, catalog)


def test_resolve_metric_given_as_an_object_is_written_as_text(plugin: str) -> None:
    catalog = load_catalog([plugin])
    power = catalog.entries["metrics"]["power"].component
    assert isinstance(power, type)
    made = resolve(
        find_spec("gpt2-sms-spam", catalog), {"metrics": [power(power=3.0), "mcc"]}, catalog
    )
    assert made.spec.metrics == ("power:power=3.0", "mcc")
    assert list(made.metrics) == ["power:power=3.0", "mcc", "accuracy"]
    assert not made.modified
