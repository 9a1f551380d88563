"""A run from settings to stored results."""

from __future__ import annotations

import csv
import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from small_runs import run_small, stored

import clsbench
from clsbench.analysis.comparison import compare_runs
from clsbench.analysis.run_rows import rows_of_runs
from clsbench.analysis.suite_figures import suite_figures
from clsbench.components.catalog import load_catalog
from clsbench.experiment.predict import load_predictor
from clsbench.experiment.run import FinishedRun
from clsbench.fastpath.fast_forward import FastForward
from clsbench.report.page.files import report_text
from clsbench.results.store import StoredRun, read_record
from clsbench.schema.options import RunOptions


def test_run_stores_all_files_and_its_record(finished: FinishedRun) -> None:
    path = stored(finished)
    assert sorted(file.name for file in path.iterdir()) == [
        "accuracy.pdf",
        "accuracy.svg",
        "baselines.csv",
        "baselines.json",
        "baselines.safetensors",
        "classifier.safetensors",
        "loss.pdf",
        "loss.svg",
        "predictions.csv",
        "record.json",
    ]
    assert read_record(path) == finished.record
    names = json.loads((path / "record.json").read_text())
    for name in (
        "spec", "status", "stand_ins", "environment", "data", "parameters", "history",
        "metrics", "baselines", "phases_seconds", "throughput",
    ):  # fmt: skip
        assert name in names


def test_run_record_holds_brier_and_ece(finished: FinishedRun) -> None:
    metrics = finished.record.metrics
    assert metrics is not None
    lines = (stored(finished) / "predictions.csv").read_text().splitlines()
    rows = [row for row in csv.DictReader(lines) if row["split"] == "test"]
    classes = [name for name in rows[0] if name.startswith("probability_")]
    squares = [
        sum((float(row[c]) - (c == f"probability_{row['label']}")) ** 2 for c in classes)
        for row in rows
    ]
    assert metrics.test.brier == pytest.approx(sum(squares) / len(squares), abs=1e-6)
    assert metrics.test.ece is not None
    assert 0 <= metrics.test.ece <= 1
    share = metrics.train.confusion[1][1] + metrics.train.confusion[1][0]
    spam = share / metrics.train.n
    found = finished.record.baselines[0].metrics.test
    squares = [2 * spam**2 if row["label"] == "ham" else 2 * (1 - spam) ** 2 for row in rows]
    assert found.brier == pytest.approx(sum(squares) / len(squares)), "of the shares of the classes"


def test_run_history_has_one_entry_per_evaluation(finished: FinishedRun) -> None:
    record = finished.record
    assert record.history is not None
    assert record.history.before is not None
    assert set(record.history.before.accuracy) == {"train", "validation", "test"}
    assert [entry.step for entry in record.history.steps] == [0, 10, 20, 30]
    assert [entry.epoch for entry in record.history.epochs] == [1, 2]
    assert record.history.epochs[-1].examples_seen == 2 * 17 * 8
    assert record.fast_path is not None
    assert record.fast_path.kept is not None
    seconds = [e.seconds for e in (*record.history.steps, *record.history.epochs)]
    assert 0 < min(seconds) <= max(seconds) <= record.phases_seconds["training"]


FEW = {
    "dataset": "synthetic-sms:texts=100",
    "data__split": "stratified",
    "train__epochs": 1,
    "train__eval_every": 5,
}


def test_run_recomputed_activations_count_as_prefix_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = FastForward._prefix
    slowed = 0

    def slow(*arguments: Any) -> Any:
        nonlocal slowed
        slowed += 1
        time.sleep(0.01)
        return compute(*arguments)

    monkeypatch.setattr(FastForward, "_prefix", slow)
    room = {"cache_memory": "200kB", "cache_disk": "0"}
    record = run_small(tmp_path, given=room, **FEW).record
    assert record.fast_path is not None
    assert record.fast_path.kept is not None
    assert record.fast_path.kept.recomputed > record.fast_path.kept.computed
    assert record.phases_seconds["prefix"] > 0.01 * slowed
    assert record.phases_seconds["training"] > 0 < record.phases_seconds["evaluation"]
    assert record.history is not None
    seconds = [e.seconds for e in (*record.history.steps, *record.history.epochs)]
    assert 0 < min(seconds) <= max(seconds) <= record.phases_seconds["training"]
    assert "computed every time" in record.fast_path.shortcuts[0].detail


class Phases:
    """Records the phases."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    @clsbench.hookimpl
    def clsbench_phase_started(self, phase: str) -> None:
        self.shown.append(phase)


@pytest.mark.parametrize(
    "given", [{"plain": True}, {"cache_memory": "0", "cache_disk": "0"}], ids=["plain", "no room"]
)
def test_run_without_cached_prefix_records_no_activations(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    phases = Phases()
    record = run_small(tmp_path, [phases], given=given, **FEW).record
    assert record.fast_path is not None
    assert not record.fast_path.shortcuts[0].taken
    assert record.fast_path.kept is None
    assert (
        ("prefix" in phases.shown) == ("prefix" in record.phases_seconds) == ("plain" not in given)
    )


def test_run_failing_cache_is_recorded_as_warnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CLSBENCH_CACHE", str(tmp_path / "file" / "cache"))
    record = run_small(tmp_path / "runs", given={"cache_memory": "0"}, **FEW).record
    assert record.status == "finished"
    assert len(record.warnings) == 2
    for warning in record.warnings:
        assert warning.startswith("activations of the frozen prefix ")
        assert warning.endswith(f"{tmp_path / 'file'} is not a folder")


def test_run_metrics_equal_those_of_the_stored_predictions(finished: FinishedRun) -> None:
    metrics = finished.record.metrics
    assert metrics is not None
    with (stored(finished) / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for split in ("train", "validation", "test"):
        own = [row for row in rows if row["split"] == split]
        figures = getattr(metrics, split)
        ham = np.array([float(row["probability_ham"]) for row in own])
        spam = np.array([float(row["probability_spam"]) for row in own])
        labels = np.array([row["label"] for row in own])
        right = np.where(labels == "spam", spam > ham, ham >= spam)
        assert figures.n == len(own)
        assert figures.accuracy == right.mean()
        assert figures.interval[0] <= figures.accuracy <= figures.interval[1]
        of_label = np.where(labels == "spam", spam, ham)
        assert figures.loss == pytest.approx(-np.log(of_label).mean(), rel=1e-6)


def test_run_record_lists_the_baselines(finished: FinishedRun) -> None:
    names = [baseline.component.partition(":")[0] for baseline in finished.record.baselines]
    assert names == ["majority"]


def test_run_same_seed_gives_identical_results(finished: FinishedRun, tmp_path: Path) -> None:
    again = run_small(tmp_path)
    assert again.record.metrics == finished.record.metrics
    assert again.record.run_key == finished.record.run_key
    drawn = [(stored(run) / "loss.svg").exists() for run in (finished, again)]
    assert drawn == [True, False], "curves are an option"
    for ours, theirs in ((again.record.history, finished.record.history),):
        assert ours is not None
        assert theirs is not None
        assert [(e.train_loss, e.validation_loss) for e in ours.steps] == [
            (e.train_loss, e.validation_loss) for e in theirs.steps
        ]
    predictions = [(stored(run) / "predictions.csv").read_bytes() for run in (again, finished)]
    assert predictions[0] == predictions[1]


def test_run_other_seed_keeps_the_split_and_changes_the_run_key(
    finished: FinishedRun, tmp_path: Path
) -> None:
    plain = {"plain": True}  # without planning shortcuts, which takes time
    other = run_small(tmp_path, dry_run=True, given=plain, seed=124, train__epochs=1).record
    dry = run_small(tmp_path, dry_run=True, given=plain, seed=124).record
    assert dry.fingerprint == finished.record.fingerprint != other.fingerprint
    assert dry.run_key != finished.record.run_key
    assert dry.data == finished.record.data  # a seed never changes the split


def test_run_dry_run_plans_without_training(finished: FinishedRun, tmp_path: Path) -> None:
    dry = run_small(tmp_path / "none", dry_run=True)
    assert dry.path is None
    assert not (tmp_path / "none").exists()
    assert dry.record.status == "planned"
    assert dry.record.metrics is dry.record.history is None
    assert dry.record.parameters == finished.record.parameters
    assert dry.record.data == finished.record.data
    assert dry.record.memory_bytes_expected is not None


def test_run_restores_global_random_states(tmp_path: Path) -> None:
    def states() -> tuple[Any, ...]:
        numpy_state = np.random.get_state(legacy=False)
        return (torch.get_rng_state().tolist(), random.getstate(), str(numpy_state))

    before, threads = states(), torch.get_num_threads()
    run_small(tmp_path, head="mlp:dropout=0.5", **FEW)
    assert states() == before
    assert torch.get_num_threads() == threads
    assert torch.get_default_dtype() == torch.float32


def test_run_stores_only_trained_parameters(finished: FinishedRun) -> None:
    with safe_open(stored(finished) / "classifier.safetensors", framework="pt") as file:
        names = set(file.keys())
    assert {name.split(".")[0] for name in names} == {"backbone", "out_head"}
    assert all(".trf_blocks.3." in n or "final_norm" in n or "out_head" in n for n in names)


def test_run_with_stand_ins_drops_published_figures(tmp_path: Path) -> None:
    record = clsbench.run(
        "gpt2-sms-spam", offline=True, out=tmp_path, device="cpu", dry_run=True,
        assets=tmp_path,
    )  # fmt: skip
    assert {stand_in.axis for stand_in in record.stand_ins} == {"dataset", "backbone"}
    assert record.published is None
    assert record.modified


def test_run_component_object_and_text_give_the_same_fingerprint(tmp_path: Path) -> None:
    from clsbench.builtin.freezing_strategies import LastBlocks

    by_text, by_instance = (
        clsbench.run(
            "gpt2-sms-spam", offline=True, plain=True, out=tmp_path, dry_run=True,
            dataset="synthetic-sms:texts=100", freezing=freezing,
        )
        for freezing in ("last-blocks:n=2", LastBlocks(n=2))
    )  # fmt: skip
    assert by_text.fingerprint == by_instance.fingerprint
    assert by_text.spec["freezing"] == {"name": "last-blocks", "n": 2}
    with pytest.raises(clsbench.UsageError, match="n = 'two'"):
        clsbench.run("gpt2-sms-spam", offline=True, freezing=LastBlocks(n="two"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("freezing", "pooling"),
    [
        ("head-only", "last-token"),
        ("gradual", "last-real-token"),
        pytest.param("gradual", "attention", marks=pytest.mark.slow),
        pytest.param("all", "mean", marks=pytest.mark.slow),
    ],
)
def test_run_with_other_components_finishes(tmp_path: Path, freezing: str, pooling: str) -> None:
    two_epochs = {**FEW, "train__epochs": 2}
    record = run_small(tmp_path, pooling=pooling, freezing=freezing, **two_epochs).record
    assert record.status == "finished"


def test_run_with_accumulation_of_single_texts_finishes(tmp_path: Path) -> None:
    single = {"data__padding": "none", "train__batch_size": 1, "train__accumulation": 8}
    record = run_small(tmp_path, **FEW, **single).record
    assert record.status == "finished"
    assert record.data is not None
    assert record.data.padding_fraction == 0


def test_run_classes_missing_from_validation_and_test_only_warn(
    tmp_path: Path,
) -> None:
    file = tmp_path / "tickets.csv"
    labels = [f"class {n}" for n in range(6) for _ in range(1 if n == 5 else 3 + 8 * (n < 2))]
    rows = [f"ticket {i},{label}" for i, label in enumerate(labels)]
    file.write_text("\n".join(["text,label", *rows]))
    run = run_small(tmp_path / "runs", dataset=f"csv:path={file}", train__epochs=1)
    assert run.record.status == "finished"
    assert len(run.record.warnings) == 3
    assert "the test split (7 texts) lacks class 'class 5'" in run.record.warnings[2]
    metrics = run.record.metrics
    assert metrics is not None
    assert sum(metrics.test.confusion[5]) == 0
    assert sum(metrics.validation.confusion[2]) == 0
    assert len(run.record.baselines) == 1
    compared = compare_runs([StoredRun(stored(run), run.record)])
    assert len(compared.contenders) == 2
    results = rows_of_runs([StoredRun(stored(run), run.record)])
    page = report_text(
        suite_figures(results, tmp_path / "runs", load_catalog()), "html", load_catalog(), None
    )
    assert "class 5" in page
    predictor = load_predictor(stored(run), RunOptions(offline=True), load_catalog())
    assert predictor.predict(["ticket"]).shape == (1, 6)


def test_run_with_an_ignored_class_warns_and_finishes(tmp_path: Path) -> None:
    changes = {"data__padding": "none", "train__batch_size": 1}
    record = run_small(tmp_path, train__ignore_index=1, **FEW, **changes).record
    assert record.status == "finished"
    (warning,) = record.warnings
    assert "train.ignore_index=1 leaves class 'spam' (" in warning


def test_run_gradual_unfreezing_trains_more_parameters_each_epoch(tmp_path: Path) -> None:
    record = run_small(tmp_path, freezing="gradual", **{**FEW, "train__epochs": 3}).record
    assert record.history is not None
    assert record.parameters is not None
    counts = [entry.trainable_parameters for entry in record.history.epochs]
    assert counts == sorted(set(counts)) == list(record.parameters.trainable_by_epoch)


def test_run_cuda_without_a_device_is_refused(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(clsbench.UsageError, match=r"device cuda: torch .*, or use --device cpu"):
        clsbench.run("gpt2-sms-spam", device="cuda", out=tmp_path, offline=True)
