"""Runs whose optimizer, schedule, loss or selection of an epoch is not the default."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_runs import assert_predicts_what_is_stored, run_small, stored

import clsbench
from clsbench.components.catalog import load_catalog
from clsbench.errors import PluginError, UsageError
from clsbench.experiment.predict import load_predictor
from clsbench.schema.options import RunOptions

QUICK: dict[str, Any] = {"freezing": "head-only", "baselines": ["majority"], "train.lr": 0.01}

PLUGIN = """
import clsbench

class Faulty(clsbench.Optimizer):
    "An optimizer with a fault to choose."

    fault: str = ""

    def build(self, groups, weight_decay):
        if self.fault == "refuses":
            raise clsbench.UsageError("use it with another head")
        if self.fault == "fails":
            raise KeyError("rate")
        return groups

class FaultySchedule(clsbench.Schedule):
    "A schedule that is not a number at the end."

    def factor(self, step, steps):
        return 1.0 if step + 1 < steps else float("nan")

class FaultyLoss(clsbench.Loss):
    "A loss that is not reduced."

    def build(self, class_counts):
        import torch.nn.functional as F
        return lambda logits, labels: F.cross_entropy(logits, labels, reduction="none")

@clsbench.hookimpl
def clsbench_register_optimizers():
    return {"faulty": Faulty}

@clsbench.hookimpl
def clsbench_register_schedules():
    return {"faulty": FaultySchedule}

@clsbench.hookimpl
def clsbench_register_losses():
    return {"faulty": FaultyLoss}
"""


def test_run_with_every_part_of_the_recipe_is_recorded(tmp_path: Path) -> None:
    run = run_small(
        tmp_path,
        **QUICK,
        train__optimizer="sgd:momentum=0.5",
        train__schedule="cosine:warmup=0.1",
        train__loss="focal:class_weights=balanced",
        train__gradient_clipping=1.0,
        train__layer_decay=0.5,
    )
    assert (run.record.status, run.record.error) == ("finished", None)
    train = run.record.spec["train"]
    assert train["optimizer"] == {"name": "sgd", "momentum": 0.5, "nesterov": False}
    assert train["loss"] == {"name": "focal", "gamma": 2.0, "class_weights": "balanced"}
    assert (train["gradient_clipping"], train["layer_decay"]) == (1.0, 0.5)
    axes = {each.axis: each.component for each in run.record.plugins}
    assert (axes["train.optimizer"], axes["train.schedule"]) == ("sgd", "cosine")
    usual = run_small(tmp_path, **QUICK)
    assert usual.record.fingerprint != run.record.fingerprint
    assert usual.record.history is not None
    assert run.record.history is not None
    assert usual.record.history.before == run.record.history.before  # both are cross-entropy
    assert usual.record.history.selection is None


def test_run_with_selection_records_it_and_stores_the_selected_weights(tmp_path: Path) -> None:
    changes = {**QUICK, "train.epochs": 8, "train.lr": 0.3, "train.select": "best-validation"}
    run = run_small(tmp_path, **changes, **{"train.patience": 2})
    record = json.loads((stored(run) / "record.json").read_text())
    selection = record["history"]["selection"]
    scores, best = selection["scores"], selection["best_epoch"]
    assert len(scores) == len(record["history"]["epochs"]) <= 8
    assert selection["metric"] == "accuracy"
    assert selection["used_epoch"] == best == scores.index(max(scores)) + 1
    assert selection["stopped_early"] == (len(scores) < 8)
    assert record["metrics"]["validation"]["accuracy"] == scores[best - 1]
    assert run.record.spec["metric"] == "accuracy"
    assert_predicts_what_is_stored(
        load_predictor(stored(run), RunOptions(out=tmp_path), load_catalog()), run
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train.optimizer": "faulty"}, "optimizer faulty:fault=: build() returns list, expected"),
        ({"train.optimizer": "faulty:fault=fails"}, "failed: KeyError: 'rate'"),
        ({"train.schedule": "faulty"}, "schedule faulty returns the factor nan for step 33 of 34"),
        ({"train.loss": "faulty"}, "loss faulty returns the shape (2,), expected a tensor"),
    ],
)
def test_run_with_a_faulty_recipe_of_a_plugin_is_refused_before_it_begins(
    changes: dict[str, str], said: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    plugins = [str(tmp_path / "mine.py")]
    with pytest.raises(PluginError) as caught:
        run_small(tmp_path / "runs", dry_run=True, plugins=plugins, **{**QUICK, **changes})
    assert said in str(caught.value)
    assert not list((tmp_path / "runs").glob("*"))


def test_run_with_an_optimizer_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    plugins = [str(tmp_path / "mine.py")]
    with pytest.raises(UsageError, match="use it with another head"):
        run_small(tmp_path, dry_run=True, plugins=plugins, train__optimizer="faulty:fault=refuses")


def test_run_with_lbfgs_trains_a_head_on_the_whole_split(tmp_path: Path) -> None:
    changes = {**QUICK, "train.lr": 1, "train.weight_decay": 1e-3, "train.optimizer": "lbfgs"}
    changes |= {"train.eval_every": 1, "train.schedule": "constant:warmup=0.3"}
    run = run_small(tmp_path, **changes)
    assert (run.record.status, run.record.error) == ("finished", None)
    assert run.record.history is not None
    assert [entry.step for entry in run.record.history.steps] == [0, 1]
    assert run.record.data is not None
    texts = tuple(range(run.record.data.sizes["train"]))
    assert [batch.indices for batch in clsbench.batch_order(run.record)] == [texts, texts]
    assert run.record.history.before is not None
    assert run.record.metrics is not None
    assert (run.record.metrics.train.loss or 9) < run.record.history.before.loss["train"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train.accumulation": 2}, "trains on the whole split; set train.accumulation=1 (it is 2"),
        ({"train.gradient_clipping": 1}, "does not clip gradients; set train.gradient_clipping=0"),
        ({"freezing": "all"}, "They are not: the first stage (embeddings) is trained"),
        ({"freezing": "gradual"}, "needs the same parameters in every epoch"),
        ({"given": {"plain": True}}, "They are not: switched off by --plain"),
        ({"given": {"no_fast": ("prefix",)}}, "switched off by --no-fast prefix"),
        (
            {"freezing": "head-only:final_norm=true", "train.layer_decay": 0.5},
            "the optimizer lbfgs has a single learning rate; set train.layer_decay=1",
        ),
    ],
)
def test_run_with_lbfgs_where_it_cannot_work_is_refused(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    changes = {**QUICK, "train.optimizer": "lbfgs", "train.lr": 1, **changes}
    with pytest.raises(UsageError) as caught:
        run_small(tmp_path, dry_run=True, **changes)
    assert said in str(caught.value)
    assert "lbfgs" in str(caught.value)


def test_run_with_patience_and_no_validation_texts_is_refused(tmp_path: Path) -> None:
    changes = {**QUICK, "dataset": "synthetic-sms:texts=20", "data.split.validation": 0.01}
    with pytest.raises(UsageError, match=r"validation"):
        run_small(tmp_path, dry_run=True, **changes, **{"train.patience": 1})
