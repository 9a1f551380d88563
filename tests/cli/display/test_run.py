"""The display of a run as an observer of the lifecycle."""

from __future__ import annotations

import io
import logging
import sys

import msgspec
import pytest
from fake_clock import Clock
from run_events import PLAN, step_report

from clsbench.cli.display.run import LiveDisplay, PlainDisplay
from clsbench.components.catalog import load_catalog
from clsbench.components.values import StepReport
from clsbench.schema.record import EpochEntry, StepEntry


def step_entry(step: int) -> StepEntry:
    return StepEntry(
        step=step,
        epoch=step // 10 + 1,
        examples_seen=8 * (step + 1),
        train_loss=0.61,
        validation_loss=0.72,
        seconds=1.0,
    )


EPOCH = EpochEntry(
    epoch=1,
    examples_seen=80,
    train_accuracy=0.9,
    validation_accuracy=0.8,
    trainable_parameters=1000,
    seconds=75.0,
)


def test_plain_display_logs_an_evaluation_every_ten_seconds(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO, "clsbench")
    clock = Clock()
    display = PlainDisplay(show_plan=True, clock=clock)
    hook = load_catalog().lifecycle([display])
    hook.clsbench_run_started(plan=PLAN, name="a-run")
    hook.clsbench_phase_started(phase="training")
    for step in range(10):
        clock.now_seconds += 3
        hook.clsbench_step_finished(report=step_report(step))
        hook.clsbench_evaluated(entry=step_entry(step))
    hook.clsbench_epoch_finished(entry=EPOCH)
    assert "gpt2-nano in place of gpt2" in capsys.readouterr().err
    first, *lines = caplog.messages
    assert first == "training …"
    assert lines == [
        "epoch 1/2 step 0/20: loss train 0.610 validation 0.720",
        "epoch 1/2 step 4/20: loss train 0.610 validation 0.720, 2.67 texts/s, 0:45 left",
        "epoch 1/2 step 8/20: loss train 0.610 validation 0.720, 2.67 texts/s, 0:33 left",
        "epoch 1/2 done: accuracy over a few batches train 90.0% validation 80.0% (1:15)",
    ]


@pytest.mark.parametrize("width", [80, 120])
def test_live_display_with_gradual_unfreezing_fits_the_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    clock = Clock()
    display = LiveDisplay(show_plan=False, clock=clock)
    plan = msgspec.structs.replace(PLAN, trainable_by_epoch=(1, 2))
    with display.showing() as live:
        display.clsbench_run_started(plan)
        display.clsbench_phase_started("training")
        for step in range(6):
            clock.now_seconds += 1
            display.clsbench_step_finished(step_report(step))
        display.clsbench_evaluated(step_entry(5))
        [line] = live.console.render_lines(live.get_renderable(), pad=False)
    text = "".join(segment.text for segment in line)
    assert len(text) <= width
    assert "00:04 left in epoch 1" in text


@pytest.mark.parametrize("width", [80, 120])
def test_live_display_of_training_fits_the_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    clock = Clock()
    display = LiveDisplay(show_plan=False, clock=clock)
    hook = load_catalog().lifecycle([display])
    with display.showing() as live:
        hook.clsbench_run_started(plan=PLAN, name="a-run")
        hook.clsbench_phase_started(phase="training")
        for step in range(6):
            clock.now_seconds += 1
            hook.clsbench_step_finished(report=step_report(step))
        hook.clsbench_evaluated(entry=step_entry(5))
        [line] = live.console.render_lines(live.get_renderable(), pad=False)
        text = "".join(segment.text for segment in line)
        hook.clsbench_epoch_finished(entry=EPOCH)
    assert len(text) <= width
    assert "epoch 1/2" in text
    assert "6/20 loss 0.500  val" in text
    assert "0.720 8 texts/s 00:14 left" in text
    assert "epoch 1/2 done: accuracy" in screen.getvalue()


def test_live_display_reads_the_loss_a_few_times_a_second() -> None:
    """Reading it may wait for the device."""
    reads = []

    def loss() -> float:
        reads.append(1)
        return 0.5

    clock = Clock()
    display = LiveDisplay(show_plan=False, clock=clock)
    display.clsbench_run_started(PLAN)
    for step in range(10):
        clock.now_seconds += 0.05
        display.clsbench_step_finished(
            StepReport(step=step, epoch=0, loss=loss, examples=8, real_tokens=8)
        )
    assert len(reads) == 2


def test_plain_display_logs_the_prefix_every_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "clsbench")
    clock = Clock()
    hook = load_catalog().lifecycle([PlainDisplay(show_plan=False, clock=clock)])
    hook.clsbench_run_started(plan=PLAN, name="a-run")
    hook.clsbench_phase_started(phase="prefix")
    hook.clsbench_prefix_progressed(done=0, total=1000)
    for done in range(100, 1001, 100):
        clock.now_seconds += 4
        hook.clsbench_prefix_progressed(done=done, total=1000)
    assert caplog.messages == [
        "prefix …",
        "frozen prefix: 300 of 1,000 tokens, 0:28 left",
        "frozen prefix: 600 of 1,000 tokens, 0:16 left",
        "frozen prefix: 900 of 1,000 tokens, 0:04 left",
    ]


@pytest.mark.parametrize("width", [80, 120])
def test_live_display_of_the_prefix_fits_the_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    clock = Clock()
    display = LiveDisplay(show_plan=False, clock=clock)
    hook = load_catalog().lifecycle([display])
    with display.showing() as live:
        hook.clsbench_run_started(plan=PLAN, name="a-run")
        hook.clsbench_phase_started(phase="prefix")
        hook.clsbench_prefix_progressed(done=0, total=166_560)
        for done in (12_288, 24_576):
            clock.now_seconds += 10
            hook.clsbench_prefix_progressed(done=done, total=166_560)
        [line] = live.console.render_lines(live.get_renderable(), pad=False)
        text = "".join(segment.text for segment in line)
        assert "24,576/166,560 tokens" in text
        assert "01:56 left" in text
        assert len(text) <= width
        hook.clsbench_prefix_progressed(done=166_560, total=166_560)
        hook.clsbench_phase_started(phase="training")
        [line] = live.console.render_lines(live.get_renderable(), pad=False)
        assert "tokens" not in "".join(segment.text for segment in line)
