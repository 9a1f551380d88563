"""Whole runs on the embedded stand-ins: what they leave behind, and what goes wrong well."""

from __future__ import annotations

import csv
import json
import random
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors import safe_open

import clsbench
from clsbench.analysis.comparison import compare_runs
from clsbench.analysis.run_rows import rows_of_runs
from clsbench.analysis.suite_figures import suite_figures
from clsbench.builtin.backbones.gpt2_nano import GPT2Nano
from clsbench.components.catalog import Catalog, load_catalog
from clsbench.components.resolve import find_spec, resolve
from clsbench.experiment.predict import Predictor, load_predictor
from clsbench.experiment.run import FinishedRun, run_experiment
from clsbench.fastpath.fast_forward import FastForward
from clsbench.report.page.files import report_text
from clsbench.results.predictions import read_predictions
from clsbench.results.store import StoredRun, read_record, write_record
from clsbench.schema.options import RunOptions
from clsbench.schema.record import RunRecord

SMALL = {
    "dataset": "synthetic-sms:texts=400",
    "backbone": "gpt2-nano",
    "data.padding": 24,
    "data.balance": False,
    "train.epochs": 2,
    "train.eval_every": 20,
}


def run_small(
    out: Path,
    observers: Sequence[object] = (),
    dry_run: bool = False,
    given: Mapping[str, Any] = MappingProxyType({}),
    **changes: Any,
) -> FinishedRun:
    catalog = load_catalog()
    changed = {key.replace("__", "."): value for key, value in changes.items()}
    spec = resolve(find_spec("gpt2-sms-spam", catalog), SMALL | changed, catalog)
    options = RunOptions(out=out, device="cpu", threads=1, offline=True, **given)
    return run_experiment(spec, options, catalog, observers, dry_run)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    return run_small(tmp_path_factory.mktemp("runs"))


def stored(run: FinishedRun) -> Path:
    assert run.path is not None
    return run.path


def test_a_run_leaves_everything_behind(finished: FinishedRun) -> None:
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


def test_the_record_says_how_well_it_is_calibrated(finished: FinishedRun) -> None:
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
    assert finished.record.baselines[0].metrics.test.brier is None


def test_history_has_one_entry_per_evaluation_point(finished: FinishedRun) -> None:
    record = finished.record
    assert record.history is not None
    assert record.history.before is not None
    assert set(record.history.before.accuracy) == {"train", "validation", "test"}
    assert [entry.step for entry in record.history.steps] == [0, 20, 40, 60]
    assert [entry.epoch for entry in record.history.epochs] == [1, 2]
    assert record.history.epochs[-1].examples_seen == 2 * 35 * 8
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


def test_what_is_computed_again_is_time_of_the_prefix(
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
def test_without_a_prefix_none_is_timed(tmp_path: Path, given: dict[str, Any]) -> None:
    phases = Phases()
    record = run_small(tmp_path, [phases], given=given, **FEW).record
    assert record.fast_path is not None
    assert not record.fast_path.shortcuts[0].taken
    assert record.fast_path.kept is None
    assert (
        ("prefix" in phases.shown) == ("prefix" in record.phases_seconds) == ("plain" not in given)
    )


def test_what_goes_wrong_with_the_cache_stands_in_the_record(
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


def test_metrics_agree_with_the_stored_predictions(finished: FinishedRun) -> None:
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


def test_baselines_stand_beside_the_model(finished: FinishedRun) -> None:
    names = [baseline.component.partition(":")[0] for baseline in finished.record.baselines]
    assert names == ["majority", "tfidf-logreg"]


def test_the_same_seed_gives_the_same_run(finished: FinishedRun, tmp_path: Path) -> None:
    again = run_small(tmp_path)
    assert again.record.metrics == finished.record.metrics
    assert again.record.run_key == finished.record.run_key
    for ours, theirs in ((again.record.history, finished.record.history),):
        assert ours is not None
        assert theirs is not None
        assert [(e.train_loss, e.validation_loss) for e in ours.steps] == [
            (e.train_loss, e.validation_loss) for e in theirs.steps
        ]
    predictions = [(stored(run) / "predictions.csv").read_bytes() for run in (again, finished)]
    assert predictions[0] == predictions[1]


def test_another_seed_is_the_same_experiment_but_another_run(
    finished: FinishedRun, tmp_path: Path
) -> None:
    other = run_small(tmp_path, seed=124, train__epochs=1).record
    dry = run_small(tmp_path, seed=124, dry_run=True).record
    assert dry.fingerprint == finished.record.fingerprint != other.fingerprint
    assert dry.run_key != finished.record.run_key
    assert dry.data == finished.record.data  # a seed never changes the split


def test_a_dry_run_counts_and_trains_nothing(finished: FinishedRun, tmp_path: Path) -> None:
    dry = run_small(tmp_path / "none", dry_run=True)
    assert dry.path is None
    assert not (tmp_path / "none").exists()
    assert dry.record.status == "planned"
    assert dry.record.metrics is dry.record.history is None
    assert dry.record.parameters == finished.record.parameters
    assert dry.record.data == finished.record.data
    assert dry.record.memory_bytes_expected is not None


def test_the_states_of_all_global_generators_are_restored(tmp_path: Path) -> None:
    def states() -> tuple[Any, ...]:
        numpy_state = np.random.get_state(legacy=False)
        return (torch.get_rng_state().tolist(), random.getstate(), str(numpy_state))

    before, threads = states(), torch.get_num_threads()
    run_small(tmp_path, train__epochs=1, head="mlp:dropout=0.5")
    assert states() == before
    assert torch.get_num_threads() == threads
    assert torch.get_default_dtype() == torch.float32


def test_only_trained_parameters_are_stored_and_the_rest_is_proven(finished: FinishedRun) -> None:
    with safe_open(stored(finished) / "classifier.safetensors", framework="pt") as file:
        names = set(file.keys())
    assert {name.split(".")[0] for name in names} == {"backbone", "out_head"}
    assert all(".trf_blocks.3." in n or "final_norm" in n or "out_head" in n for n in names)


def test_the_stored_classifier_predicts_what_the_run_saw(finished: FinishedRun) -> None:
    options = RunOptions(device="cpu", threads=1, offline=True)
    catalog = load_catalog()
    predictor = load_predictor(stored(finished), options, catalog)
    assert_predicts_what_is_stored(predictor, finished)
    assert predictor.predict([]).shape == (0, 2)
    odd = predictor.predict(["", "<|endoftext|>", "x" * 100_000])
    assert odd.sum(axis=1) == pytest.approx(1)


def assert_predicts_what_is_stored(predictor: Predictor, run: FinishedRun) -> None:
    catalog = load_catalog()
    corpus = resolve(find_spec("gpt2-sms-spam", catalog), SMALL, catalog).dataset.load({})
    with (stored(run) / "predictions.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    found = predictor.predict([corpus.texts[int(row["row"])] for row in rows])
    expected = [[float(row["probability_ham"]), float(row["probability_spam"])] for row in rows]
    assert predictor.class_names == ("ham", "spam")
    assert found == pytest.approx(np.array(expected), abs=1e-6)


def test_predict_logits_that_are_not_finite_are_refused_by_text(finished: FinishedRun) -> None:
    options = RunOptions(device="cpu", threads=1, offline=True)
    predictor = load_predictor(stored(finished), options, load_catalog())
    tokenizer = GPT2Nano().tokenizer({})
    with torch.no_grad():
        embedding = predictor._classifier.get_parameter("backbone.tok_emb.weight")
        embedding[tokenizer.encode("win")[0]] = float("nan")
    assert np.isfinite(predictor.predict(["see you"])).all()
    with pytest.raises(
        clsbench.ClsbenchError, match=r"text 12 \('win a prize'\) cannot be classified"
    ):
        predictor.predict(["see you", "win a prize", "win"], first=11)


def test_predict_changed_classifier_file_is_damaged(finished: FinishedRun, tmp_path: Path) -> None:
    options = RunOptions(device="cpu", threads=1, offline=True)
    path = shutil.copytree(stored(finished), tmp_path / "run")
    file = path / "classifier.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(clsbench.UsageError, match=r"classifier\.safetensors is damaged: its cont"):
        load_predictor(path, options, load_catalog())
    file.unlink()
    with pytest.raises(
        clsbench.UsageError, match=r"classifier\.safetensors is missing from the run"
    ):
        load_predictor(path, options, load_catalog())


@pytest.mark.parametrize("length", [0, -1, 129, 10**9])
def test_load_predictor_record_with_an_impossible_length_is_damaged(
    finished: FinishedRun, tmp_path: Path, length: int
) -> None:
    path = shutil.copytree(stored(finished), tmp_path / "run")
    record = finished.record
    assert record.data is not None
    data = msgspec.structs.replace(record.data, max_length=length)
    write_record(path, msgspec.structs.replace(record, data=data))
    with pytest.raises(clsbench.UsageError, match=f"its data.max_length is {length:,}"):
        load_predictor(path, RunOptions(threads=1, offline=True), load_catalog())


def test_read_answers_run_without_file_hashes_is_read(
    finished: FinishedRun, tmp_path: Path
) -> None:
    """As earlier versions stored it."""
    path = shutil.copytree(stored(finished), tmp_path / "run")
    record = msgspec.structs.replace(finished.record, files_sha256={})
    write_record(path, record)
    read_predictions(StoredRun(path, record))
    load_predictor(path, RunOptions(threads=1, offline=True), load_catalog())


class Stopping:
    """An observer that ends the run in its third batch."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.records: list[RunRecord] = []

    @clsbench.hookimpl
    def clsbench_step_finished(self, report: clsbench.StepReport) -> None:
        if report.step == 2:
            raise self.error

    @clsbench.hookimpl
    def clsbench_run_finished(self, record: RunRecord) -> None:
        self.records.append(record)


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), "interrupted"), (RuntimeError("boom"), "failed")]
)
def test_a_run_that_ends_early_is_whole(tmp_path: Path, error: BaseException, status: str) -> None:
    observer = Stopping(error)
    run = run_small(tmp_path, [observer])
    assert run.record.status == status
    assert run.record.history is not None
    assert [entry.step for entry in run.record.history.steps] == [0]
    assert run.record.metrics is None
    assert observer.records == [run.record]
    assert read_record(stored(run)) == run.record
    load_predictor(stored(run), RunOptions(offline=True), load_catalog())


def test_a_loss_that_is_not_finite_names_the_step_and_keeps_what_was_learned(
    tmp_path: Path,
) -> None:
    run = run_small(tmp_path, train__lr=1e30)
    assert run.record.status == "failed"
    assert run.record.error is not None
    assert "nan at step 0" in run.record.error
    assert "(--set train.lr=0.001)" in run.record.error
    assert run.record.history is not None
    with pytest.raises(clsbench.ClsbenchError, match="at step"):
        clsbench.run(
            "gpt2-sms-spam",
            settings={k: v for k, v in SMALL.items() if "." in k} | {"train.lr": 1e30},
            dataset="synthetic-sms:texts=400",
            backbone="gpt2-nano",
            device="cpu",
            threads=1,
            out=tmp_path,
        )


def test_stand_ins_are_marked_and_never_compared(tmp_path: Path) -> None:
    record = clsbench.run(
        "gpt2-sms-spam", offline=True, out=tmp_path, device="cpu", dry_run=True,
        assets=tmp_path,
    )  # fmt: skip
    assert {stand_in.axis for stand_in in record.stand_ins} == {"dataset", "backbone"}
    assert record.published is None
    assert record.modified


def test_an_instance_and_its_text_form_are_the_same_experiment(tmp_path: Path) -> None:
    from clsbench.builtin.freezing_strategies import LastBlocks

    by_text, by_instance = (
        clsbench.run("gpt2-sms-spam", offline=True, out=tmp_path, dry_run=True, freezing=freezing)
        for freezing in ("last-blocks:n=2", LastBlocks(n=2))
    )
    assert by_text.fingerprint == by_instance.fingerprint
    assert by_text.spec["freezing"] == {"name": "last-blocks", "n": 2}
    with pytest.raises(clsbench.UsageError, match="n = 'two'"):
        clsbench.run("gpt2-sms-spam", offline=True, freezing=LastBlocks(n="two"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("freezing", "pooling"),
    [
        ("head-only", "last-token"),
        ("gradual", "last-real-token"),
        ("gradual", "attention"),
        ("all", "mean"),
    ],
)
def test_other_components_run_to_the_end(tmp_path: Path, freezing: str, pooling: str) -> None:
    record = run_small(tmp_path, pooling=pooling, freezing=freezing, data__padding=16).record
    assert record.status == "finished"


def test_accumulated_batches_of_one_equal_a_batch_of_eight_in_steps(tmp_path: Path) -> None:
    record = run_small(
        tmp_path, data__padding="none", train__batch_size=1, train__accumulation=8, train__epochs=1
    ).record
    assert record.status == "finished"
    assert record.data is not None
    assert record.data.padding_fraction == 0


def test_split_corpus_classes_missing_from_validation_and_test_are_only_warnings(
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
    assert len(run.record.baselines) == 2
    compared = compare_runs([StoredRun(stored(run), run.record)])
    assert len(compared.contenders) == 3
    results = rows_of_runs([StoredRun(stored(run), run.record)])
    page = report_text(suite_figures(results, tmp_path / "runs"), "html", load_catalog(), None)
    assert "class 5" in page
    predictor = load_predictor(stored(run), RunOptions(offline=True), load_catalog())
    assert predictor.predict(["ticket"]).shape == (1, 6)


def test_run_with_an_ignored_class_warns_and_finishes(tmp_path: Path) -> None:
    changes = {"data__padding": "none", "train__batch_size": 1}
    record = run_small(tmp_path, train__ignore_index=1, **FEW, **changes).record
    assert record.status == "finished"
    (warning,) = record.warnings
    assert "train.ignore_index=1 leaves class 'spam' (" in warning


def test_gradual_unfreezing_trains_more_every_epoch(tmp_path: Path) -> None:
    record = run_small(tmp_path, freezing="gradual", train__epochs=3).record
    assert record.history is not None
    assert record.parameters is not None
    counts = [entry.trainable_parameters for entry in record.history.epochs]
    assert counts == sorted(set(counts)) == list(record.parameters.trainable_by_epoch)


@pytest.mark.parametrize("precision", ["fp64", "bf16"])
def test_other_precisions_run(tmp_path: Path, precision: str) -> None:
    catalog = load_catalog()
    spec = resolve(find_spec("gpt2-sms-spam", catalog), SMALL | {"train.epochs": 1}, catalog)
    options = RunOptions(out=tmp_path, device="cpu", threads=1, precision=precision)  # type: ignore[arg-type]
    record = run_experiment(spec, options, catalog).record
    assert record.status == "finished", record.error
    assert record.environment.precision == precision


def test_cuda_where_there_is_none_is_refused(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(clsbench.UsageError, match="finds no CUDA device"):
        clsbench.run("gpt2-sms-spam", device="cuda", out=tmp_path, offline=True)


# --- what goes wrong in a plugin when the figures are there -----------------------------------


class Finishing:
    """An observer that fails when everything is done."""

    @clsbench.hookimpl
    def clsbench_run_finished(self, record: RunRecord) -> None:
        raise RuntimeError("the tracker is out of reach")


def test_an_observer_that_fails_at_the_end_hides_no_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = run_small(tmp_path, [Finishing()], train__epochs=1)
    assert run.record.status == "finished"
    assert read_record(stored(run)) == run.record
    assert "Finishing at" in caplog.text
    assert "failed in clsbench_run_finished: RuntimeError: the tracker is out of" in caplog.text


class InTheWay:
    """An observer that puts a file where the store of runs was to be made."""

    def __init__(self, store: Path) -> None:
        self.store = store

    @clsbench.hookimpl
    def clsbench_phase_started(self, phase: str) -> None:
        if phase == "baselines":
            self.store.write_text("")


def test_a_run_that_cannot_be_stored_hands_over_what_it_measured(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    with pytest.raises(clsbench.RunNotStoredError, match=f"not be stored in {out}") as caught:
        run_small(out, [InTheWay(out)], train__epochs=1)
    record = caught.value.record
    assert record.status == "finished"
    assert record.metrics is not None
    assert len(record.baselines) == 2
    assert caught.value.exit_code == 1


def test_curves_that_cannot_be_drawn_cost_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def half_drawn(record: RunRecord, directory: Path) -> None:
        (directory / "loss.svg").write_text("<svg")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("clsbench.results.curves.save_curves", half_drawn)
    run = run_small(tmp_path, train__epochs=1)
    assert read_record(stored(run)) == run.record
    names = {file.name for file in stored(run).iterdir()}
    assert {"classifier.safetensors", "predictions.csv", "record.json"} <= names
    assert not any(name.endswith((".svg", ".pdf")) for name in names)
    assert "the curves could not be drawn: OSError" in caplog.text


PLUGIN = """
import clsbench

class Estimator:
    def __init__(self, fault):
        self.fault = fault

    def fit(self, texts, labels):
        if self.fault == "fit":
            raise ValueError("no vocabulary")

    def predict(self, texts):
        match self.fault:
            case "words":
                return ["ham"] * len(texts)
            case "short":
                return [0] * (len(texts) - 1)
            case "range":
                return [*[0] * (len(texts) - 1), 2]
            case "half":
                return [0.5] * len(texts)
            case "nothing":
                return None
        return [1.0] * len(texts)

class Faulty(clsbench.Baseline):
    "A baseline with a fault to choose."

    fault: str = ""

    def build(self, seed):
        if self.fault == "build":
            raise KeyError("option")
        return Estimator(self.fault)

class NotANumber(clsbench.Pooling):
    "A pooling that divides by nothing."

    def build(self, hidden_size):
        import torch

        class Dividing(torch.nn.Module):
            def forward(self, hidden, lengths):
                return hidden[:, 0] * float("nan")

        return Dividing()

    def reads_padding(self):
        return False

TABLES = {}

class KeepsATable(clsbench.Pooling):
    "A pooling that keeps a table for all of the process."

    def build(self, hidden_size):
        import torch

        class Adding(torch.nn.Module):
            def forward(self, hidden, lengths):
                if "table" not in TABLES:
                    TABLES["table"] = torch.zeros(hidden_size)
                return hidden[:, 0] + TABLES["table"].to(hidden.device)

        return Adding()

    def reads_padding(self):
        return False

class ThreeAxes(clsbench.Adapter):
    "Expects texts, positions and features, though a block may be given fewer."

    def apply(self, classifier):
        def scale(module, inputs, out):
            texts, positions, features = out.shape
            return out * 0.5

        classifier.backbone.trf_blocks[-1].ff.register_forward_hook(scale)

class FixedWidth(clsbench.Adapter):
    "Knows texts of the padded length alone."

    def apply(self, classifier):
        def check(module, inputs, out):
            if out.dim() == 3 and out.shape[1] not in (1, 24):
                raise ValueError(f"expected 24 positions, got {out.shape[1]}")

        classifier.backbone.tok_emb.register_forward_hook(check)

class OwnState(clsbench.Adapter):
    "A module with a state that is not a tensor."

    def apply(self, classifier):
        import torch

        class Extra(torch.nn.Module):
            def get_extra_state(self):
                return "anything"

        classifier.backbone.extra = Extra()

class SharedMask(clsbench.Adapter):
    "One causal mask in every block, a view of it in the first."

    def apply(self, classifier):
        import torch

        mask = torch.ones(24, 24).tril()
        for block in classifier.backbone.trf_blocks:
            block.register_buffer("causal_mask", mask)
        classifier.backbone.trf_blocks[0].register_buffer("first_row", mask[0])

class NotFinite(clsbench.Adapter):
    "The embedding of a token that no text has, or a parameter that is used only while training."

    where: str = "backbone"

    def apply(self, classifier):
        import torch

        if self.where == "backbone":
            with torch.no_grad():
                classifier.backbone.tok_emb.weight[7, :3] = float("nan")
            return
        classifier.spare = torch.nn.Parameter(torch.zeros(3))

        def overflow(module, inputs):
            if module.training:
                classifier.spare.data[1] = float("inf")

        classifier.out_head.register_forward_pre_hook(overflow)

@clsbench.hookimpl
def clsbench_register_adapters():
    return {
        "three-axes": ThreeAxes, "fixed-width": FixedWidth, "own-state": OwnState,
        "shared-mask": SharedMask, "not-finite": NotFinite,
    }

@clsbench.hookimpl
def clsbench_register_baselines():
    return {"faulty": Faulty}

@clsbench.hookimpl
def clsbench_register_poolings():
    return {"not-a-number": NotANumber, "keeps-a-table": KeepsATable}
"""


def run_with_plugin(folder: Path, plain: bool = False, **changes: Any) -> RunRecord:
    return finish_with_plugin(folder, plain, **changes)[0].record


def finish_with_plugin(
    folder: Path, plain: bool = False, **changes: Any
) -> tuple[FinishedRun, Catalog]:
    plugin = folder / "faulty.py"
    plugin.write_text(PLUGIN)
    catalog = load_catalog([str(plugin)])
    small = SMALL | {"train.epochs": 1} | changes
    spec = resolve(find_spec("gpt2-sms-spam", catalog), small, catalog)
    options = RunOptions(out=folder / "runs", device="cpu", threads=1, offline=True, plain=plain)
    return run_experiment(spec, options, catalog), catalog


def test_a_baseline_that_fails_is_named_and_costs_no_run(tmp_path: Path) -> None:
    said = {
        "build": "failed: KeyError: 'option'",
        "fit": "failed: ValueError: no vocabulary",
        "words": "predict() answers 'ham', expected labels as numbers",
        "short": "predict() answers with the shape (279,) to 280 texts",
        "range": "predict() answers the label 2, expected 0 to 1",
        "half": "predict() answers the label 0.5, expected 0 to 1",
        "nothing": "predict() answers with the shape () to 280 texts",
    }
    faulty = tuple(f"faulty:fault={fault}" for fault in said)
    record = run_with_plugin(tmp_path, baselines=("majority", *faulty, "faulty"))
    assert record.status == "finished"
    assert record.metrics is not None
    assert [b.component for b in record.baselines] == ["majority", "faulty:fault="]
    assert len(record.warnings) == len(said)
    for fault, warning in zip(said, record.warnings, strict=True):
        assert warning.startswith(f"baseline faulty:fault={fault}")
        assert said[fault] in warning


@pytest.mark.parametrize(
    ("adapter", "shown"),
    [("three-axes", "not enough values to unpack"), ("fixed-width", "expected 24 positions")],
)
def test_a_shortcut_that_a_component_cannot_do_with_costs_no_other(
    tmp_path: Path, adapter: str, shown: str
) -> None:
    record = run_with_plugin(tmp_path, adapter=adapter, pooling="last-real-token")
    assert record.status == "finished", record.error
    assert record.fast_path is not None
    taken = {shortcut.name: shortcut.taken for shortcut in record.fast_path.shortcuts}
    assert taken == {"prefix": True, "position": True, "packing": False}
    assert shown in record.fast_path.shortcuts[2].detail
    (warning,) = record.warnings
    assert warning.startswith("the shortcut packing is disabled: ")
    plain = run_with_plugin(tmp_path, adapter=adapter, pooling="last-real-token", plain=True)
    losses = [[step.train_loss for step in run.history.steps] for run in (record, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_what_could_not_be_stored_is_not_trained(tmp_path: Path) -> None:
    with pytest.raises(clsbench.PluginError, match=r"holds backbone.extra._extra_state, a str and"):
        run_with_plugin(tmp_path, adapter="own-state")


def test_run_buffer_shared_by_every_block_is_stored_and_predicts(tmp_path: Path) -> None:
    run, catalog = finish_with_plugin(tmp_path, adapter="shared-mask")
    assert run.record.status == "finished", run.record.error
    predictor = load_predictor(stored(run), RunOptions(threads=1, offline=True), catalog)
    assert_predicts_what_is_stored(predictor, run)


def test_run_weights_that_are_not_finite_are_refused_before_training(tmp_path: Path) -> None:
    message = r"cannot be trained; .*: 3 of the 179,200 values of backbone\.tok_emb\.weight are not"
    with pytest.raises(clsbench.UsageError, match=message):
        run_with_plugin(tmp_path, adapter="not-finite")
    assert not (tmp_path / "runs").exists()


def test_run_trained_weights_that_are_not_finite_fail_the_run_and_are_not_loaded(
    tmp_path: Path,
) -> None:
    run, catalog = finish_with_plugin(tmp_path, adapter="not-finite:where=training")
    assert run.record.status == "failed"
    assert run.record.error is not None
    assert "1 of the 3 values of spare are not finite" in run.record.error
    with pytest.raises(clsbench.UsageError, match="values of spare are not finite"):
        load_predictor(stored(run), RunOptions(threads=1, offline=True), catalog)


def test_what_a_plugin_keeps_from_planning_is_explained(tmp_path: Path) -> None:
    record = run_with_plugin(tmp_path, pooling="keeps-a-table")
    assert record.status == "failed"
    assert record.error is not None
    assert "meta tensor" in record.error
    assert "keep it in an attribute of the module" in record.error


def test_a_plugin_that_gives_nan_is_not_blamed_on_the_backbone_alone(tmp_path: Path) -> None:
    record = run_with_plugin(tmp_path, pooling="not-a-number")
    assert record.status == "failed"
    assert record.error is not None
    assert "loss is nan before training: backbone, pooling, head or adapter" in record.error
