"""Runs that end early: failures, interrupts, observers and stores that fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import SMALL, run_small, stored

import clsbench
from clsbench.components.catalog import load_catalog
from clsbench.experiment.predict import load_predictor
from clsbench.results.store import read_record
from clsbench.schema.options import RunOptions
from clsbench.schema.record import RunRecord


class StopsInThirdBatch:
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
def test_run_that_ends_early_is_stored_and_loadable(
    tmp_path: Path, error: BaseException, status: str
) -> None:
    observer = StopsInThirdBatch(error)
    run = run_small(tmp_path, [observer])
    assert run.record.status == status
    assert run.record.history is not None
    assert [entry.step for entry in run.record.history.steps] == [0]
    assert run.record.metrics is None
    assert observer.records == [run.record]
    assert read_record(stored(run)) == run.record
    load_predictor(stored(run), RunOptions(offline=True), load_catalog())


def test_run_non_finite_loss_names_the_step_and_keeps_the_history(
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


class FailsAtTheEnd:
    """An observer that fails after the run has finished."""

    @clsbench.hookimpl
    def clsbench_run_finished(self, record: RunRecord) -> None:
        raise RuntimeError("the tracker is out of reach")


def test_run_finished_observer_that_fails_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = run_small(tmp_path, [FailsAtTheEnd()], train__epochs=1)
    assert run.record.status == "finished"
    assert read_record(stored(run)) == run.record
    assert "FailsAtTheEnd at" in caplog.text
    assert "failed in clsbench_run_finished: RuntimeError: the tracker is out of" in caplog.text


class BlocksStore:
    """An observer that creates a file at the path of the store."""

    def __init__(self, store: Path) -> None:
        self.store = store

    @clsbench.hookimpl
    def clsbench_phase_started(self, phase: str) -> None:
        if phase == "baselines":
            self.store.write_text("")


def test_run_not_stored_error_holds_the_record(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    with pytest.raises(clsbench.RunNotStoredError, match=f"not be stored in {out}") as caught:
        run_small(out, [BlocksStore(out)], train__epochs=1)
    record = caught.value.record
    assert record.status == "finished"
    assert record.metrics is not None
    assert len(record.baselines) == 1
    assert caught.value.exit_code == 1


def test_run_failing_curves_are_logged_and_the_run_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def half_drawn(record: RunRecord, directory: Path) -> None:
        (directory / "loss.svg").write_text("<svg")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("clsbench.results.curves.save_curves", half_drawn)
    run = run_small(tmp_path, given={"curves": True}, train__epochs=1)
    assert read_record(stored(run)) == run.record
    names = {file.name for file in stored(run).iterdir()}
    assert {"classifier.safetensors", "predictions.csv", "record.json"} <= names
    assert not any(name.endswith((".svg", ".pdf")) for name in names)
    assert "the curves could not be drawn: OSError" in caplog.text
