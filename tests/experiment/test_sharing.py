"""Runs that share work in one process equal runs that do all of it."""

from __future__ import annotations

import pkgutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from small_runs import SMALL, stored

from clsbench.components.catalog import load_catalog
from clsbench.components.resolve import find_spec, resolve
from clsbench.experiment.run import FinishedRun, run_experiment
from clsbench.experiment.sharing import SharedWork
from clsbench.schema.options import RunOptions

TRIALS: tuple[dict[str, Any], ...] = (
    {"train.lr": 1e-4},
    {"train.lr": 1e-2, "train.epochs": 1},
    {"train.lr": 1e-3},
)


def run(
    out: Path, changes: Mapping[str, Any], shared: SharedWork | None, curves: bool = False
) -> FinishedRun:
    catalog = load_catalog()
    spec = resolve(find_spec("gpt2-sms-spam", catalog), {**SMALL, **changes}, catalog)
    options = RunOptions(out=out, device="cpu", threads=1, offline=True, curves=curves)
    return run_experiment(spec, options, catalog, shared=shared)


def facts(run: FinishedRun) -> dict[str, Any]:
    """All of the record that does not depend on time, process or cache."""
    tree: dict[str, Any] = msgspec.to_builtins(run.record)
    assert tree["status"] == "finished", tree["error"]
    for name in ("created", "phases_seconds", "throughput", "peak_memory_bytes", "files_sha256",
                 "memory_bytes_expected", "prediction_seconds"):  # fmt: skip
        del tree[name]
    for entry in (*tree["history"]["steps"], *tree["history"]["epochs"], *tree["baselines"]):
        del entry["seconds"]
        entry.pop("prediction_seconds", None)
    # A later run finds what an earlier one computed; the details contain the free memory.
    tree["fast_path"] = {each["name"]: each["taken"] for each in tree["fast_path"]["shortcuts"]}
    return tree


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"freezing": "head-only"},
        {"freezing": "head-only", "head": "mlp:dropout=0.5", "pooling": "mean"},
        {"freezing": "last-blocks:n=1"},
        {"freezing": "gradual", "adapter": "lora"},
        {"freezing": "head-only", "baselines": ["majority", "frozen-logreg"]},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_run_experiment_with_shared_work_gives_the_same_bits(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLSBENCH_CACHE", str(tmp_path / "cache"))
    shared = SharedWork()
    curves = changes == {"freezing": "head-only"}  # drawing takes longer than the runs
    for number, trial in enumerate(TRIALS):
        alone = run(tmp_path / "alone", {**changes, **trial}, None, curves)
        together = run(tmp_path / "together", {**changes, **trial}, shared, curves)
        assert facts(together) == facts(alone), number
        for name in ("predictions.csv", "baselines.csv", "classifier.safetensors"):
            one, other = (stored(each) / name for each in (alone, together))
            assert one.exists() == other.exists()
            if one.exists():
                assert one.read_bytes() == other.read_bytes(), name
        drawn = [(stored(each) / "accuracy.svg").exists() for each in (alone, together)]
        assert drawn == [curves, False]


def test_shared_work_prepares_everything_but_training_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLSBENCH_CACHE", str(tmp_path / "cache"))
    calls: Counter[str] = Counter()

    def counted(path: str) -> None:
        real = pkgutil.resolve_name(path)

        def call(*arguments: Any) -> Any:
            calls[path] += 1
            return real(*arguments)

        monkeypatch.setattr(path, call)

    once = [
        "clsbench.experiment.preparation.split_corpus",
        "clsbench.experiment.preparation.tokenize_splits",
        "clsbench.experiment.sharing.plan_run",
        "clsbench.experiment.run.build_classifier",
        "clsbench.experiment.run.check_equivalence",
        "clsbench.experiment.baselines.score_baseline",
    ]
    for path in once:
        counted(path)
    counted("clsbench.experiment.run.fit")
    shared = SharedWork()
    computed = []
    for lr in (1e-4, 1e-3, 1e-2):
        changes = {"freezing": "head-only", "train.lr": lr, "train.epochs": 1}
        fast = run(tmp_path, changes, shared).record.fast_path
        assert fast is not None
        assert fast.kept is not None
        computed.append(fast.kept.computed)
    assert calls == {**dict.fromkeys(once, 1), "clsbench.experiment.run.fit": 3}
    assert computed == [fast.kept.distinct, 0, 0]


class Kept:
    """A classifier of one run, kept for the next."""

    def __init__(self, tmp_path: Path, **changes: Any) -> None:
        self.shared = SharedWork()
        run(tmp_path, {"freezing": "head-only", "train.epochs": 1, **changes}, self.shared)
        kept = self.shared._kept
        assert kept is not None
        self.kept = kept
        self.trained = frozenset(kept.initial)


def test_kept_classifier_restores_trained_parameters(tmp_path: Path) -> None:
    each = Kept(tmp_path)
    head = each.kept.classifier.out_head.weight
    assert not torch.equal(head, each.kept.initial["out_head.weight"])
    assert each.kept.restore(each.trained)
    assert torch.equal(head, each.kept.initial["out_head.weight"])
    assert all(parameter.grad is None for parameter in each.kept.classifier.parameters())


@pytest.mark.parametrize("change", ["frozen weight", "attribute", "module", "hook", "trained"])
def test_kept_classifier_that_has_changed_is_not_used(change: str, tmp_path: Path) -> None:
    each = Kept(tmp_path)
    backbone: Any = each.kept.classifier.backbone
    trained = each.trained
    if change == "frozen weight":
        with torch.no_grad():
            next(backbone.parameters()).mul_(1.5)
    elif change == "attribute":
        backbone.steps_so_far = 3
    elif change == "module":
        backbone.more = torch.nn.Linear(2, 2)
    elif change == "hook":
        backbone.register_forward_hook(lambda *given: None)
    else:
        trained = trained | {"backbone.tok_emb.weight"}
    assert not each.kept.restore(trained)
