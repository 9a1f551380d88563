"""Runs that end because memory is used up or a device fails.

The device layer is simulated by the plugin ``failing_devices``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import failing_devices
import pytest
from small_runs import run_small, stored

import clsbench
from clsbench.components.catalog import load_catalog
from clsbench.experiment.predict import load_predictor
from clsbench.experiment.run import FinishedRun
from clsbench.results.store import read_record
from clsbench.schema.options import RunOptions

PLUGIN = "failing_devices"
FEW = {
    "dataset": "synthetic-sms:texts=100",
    "data__split": "stratified",
    "train__epochs": 1,
    "train__eval_every": 5,
}


def run_failing(out: Path, head: str) -> FinishedRun:
    return run_small(out, plugins=[PLUGIN], head=f"ends-early:{head}", **FEW)


def failed(out: Path, failure: str) -> FinishedRun:
    """A run that fails after seven batches; what it has measured until then is kept."""
    run = run_failing(out, f"failure={failure}")
    record = run.record
    assert record.status == "failed"
    assert record.history is not None
    assert record.history.before is not None
    assert [entry.step for entry in record.history.steps] == [0, 5]
    assert record.throughput is not None
    assert record.peak_memory_bytes
    assert read_record(stored(run)) == record
    return run


def predictor(run: FinishedRun) -> Any:
    return load_predictor(stored(run), RunOptions(offline=True), load_catalog([PLUGIN]))


def test_run_out_of_memory_states_the_peak_and_what_to_try(tmp_path: Path) -> None:
    run = failed(tmp_path, "out_of_memory")
    start, _, rest = str(run.record.error).partition(" (peak ")
    peak, _, rest = rest.partition("): ")
    assert start == "out of memory on cpu in the phase 'training', after 56 training texts"
    assert peak.endswith("B")
    assert rest == (
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB. "
        "Try --precision bf16 or smaller batches with accumulation (--set train.batch_size=4 "
        "--set train.accumulation=2)"
    )
    predictor(run)


@pytest.mark.parametrize(
    "failure",
    ["out_of_memory", pytest.param("large_allocation", marks=pytest.mark.slow)],
)
def test_run_out_of_memory_in_the_trial_takes_the_plain_path(tmp_path: Path, failure: str) -> None:
    head = f"fails-in-small-batches:failure={failure}"
    record = run_small(tmp_path / "fast", plugins=[PLUGIN], head=head, **FEW).record
    assert record.status == "finished", record.error
    (warning,) = record.warnings
    assert warning.startswith("the fast path is disabled: the trial ran out of memory, so nothing")
    assert record.fast_path is not None
    assert not any(shortcut.taken for shortcut in record.fast_path.shortcuts)
    given = {"plain": True}
    plain = run_small(tmp_path / "plain", plugins=[PLUGIN], head=head, given=given, **FEW).record
    assert record.metrics == plain.metrics


def test_run_on_a_device_that_fails_in_the_trial_is_stored_as_failed(tmp_path: Path) -> None:
    head = "fails-in-small-batches:failure=device_assert"
    record = run_small(tmp_path, plugins=[PLUGIN], head=head, **FEW).record
    assert record.status == "failed"
    assert str(record.error).startswith("the device cpu (")
    assert "failed in the phase 'prefix', after 0 training texts: CUDA error" in str(record.error)
    assert not record.warnings


class RunsOutOfMemoryInThePrefix:
    """An observer that gets the error as the frozen layers are computed."""

    @clsbench.hookimpl
    def clsbench_prefix_progressed(self, done: int, total: int) -> None:
        raise failing_devices.MEMORY


def test_run_out_of_memory_in_the_prefix_suggests_to_compute_it_with_each_step(
    tmp_path: Path,
) -> None:
    record = run_small(tmp_path, [RunsOutOfMemoryInThePrefix()], **FEW).record
    error = str(record.error)
    assert error.startswith("out of memory on cpu in the phase 'prefix', after 0 training texts")
    assert error.endswith(
        "Try --precision bf16 or computing the frozen layers with each step (--no-fast prefix)"
    )


def test_run_real_allocation_that_fails_is_reported_as_out_of_memory(tmp_path: Path) -> None:
    error = str(failed(tmp_path, "large_allocation").record.error)
    assert error.startswith("out of memory on cpu in the phase 'training', after 56 ")
    assert "you tried to allocate 4000000000000000 bytes" in error


def test_run_on_a_failing_device_names_it_and_keeps_the_weights(tmp_path: Path) -> None:
    run = failed(tmp_path, "device_assert")
    name = run.record.environment.device_name
    error = str(run.record.error)
    assert error.startswith(
        f"the device cpu ({name}) failed in the phase 'training', after 56 training texts: CUDA "
        "error: device-side assert triggered. Check the device and run again"
    )
    assert "might be reported later" not in error
    assert not run.record.warnings
    predictor(run)


def test_run_on_a_lost_device_is_stored_without_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose() -> None:
        failing_devices.lose_memory(monkeypatch)
        failing_devices.lost_device()

    monkeypatch.setitem(failing_devices.FAILURES, "lose", lose)
    run = failed(tmp_path, "lose")
    monkeypatch.undo()
    assert "unspecified launch failure" in str(run.record.error), "the first error"
    assert run.record.warnings == (
        "the trained weights are not stored, since they could not be read from cpu: CUDA error: "
        "device-side assert triggered",
    )
    assert not (stored(run) / "classifier.safetensors").exists()
    monkeypatch.setitem(failing_devices.FAILURES, "lose", lose)
    with pytest.raises(clsbench.UsageError, match="it ended too early"):
        predictor(run)


class LosesTheDevice:
    """An observer in whose run the device is lost after the evaluation."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch

    @clsbench.hookimpl
    def clsbench_phase_started(self, phase: str) -> None:
        if phase == "baselines":
            failing_devices.lose_memory(self.patch)


def test_run_device_lost_after_the_evaluation_keeps_its_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_small(tmp_path, [LosesTheDevice(monkeypatch)], **FEW)
    monkeypatch.undo()
    assert run.record.status == "failed"
    assert run.record.metrics is not None
    assert str(run.record.error).startswith("the trained weights are not stored, since they could")
    assert read_record(stored(run)) == run.record


class GetsTheError:
    """An observer to which the device reports an error, as it waits for the loss."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    @clsbench.hookimpl
    def clsbench_step_finished(self, report: clsbench.StepReport) -> None:
        raise self.error


def test_run_device_error_in_an_observer_is_attributed_to_the_device(tmp_path: Path) -> None:
    record = run_small(tmp_path, [GetsTheError(failing_devices.ASSERT)], **FEW).record
    assert record.status == "failed"
    assert str(record.error).startswith("the device cpu (")
    assert "GetsTheError" not in str(record.error)


def test_run_out_of_memory_with_cached_activations_suggests_a_limit(tmp_path: Path) -> None:
    observers = [GetsTheError(failing_devices.MEMORY)]
    single = {"train__batch_size": 1, "given": {"precision": "bf16"}}
    record = run_small(tmp_path, observers, **FEW, **single).record
    assert "GiB. Try less memory for cached activations (--cache-memory " in str(record.error)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        ("out_of_memory", "the classifier does not fit into the memory of cpu (peak "),
        ("device_assert", "the device cpu failed while the classifier was made: CUDA error: dev"),
    ],
)
def test_run_device_error_before_training_is_refused(
    tmp_path: Path, failure: str, expected: str
) -> None:
    with pytest.raises(clsbench.ClsbenchError) as caught:
        run_failing(tmp_path, f"failure={failure},in_build=true")
    assert str(caught.value).startswith(expected)
    assert not list(tmp_path.iterdir())
