"""Progress as an observer of the lifecycle, on a clock that the test moves."""

from __future__ import annotations

import io
import logging
import sys

import msgspec
import pytest

from clsbench.cli.display.downloads import TransferLines, amount
from clsbench.cli.display.pace import Pace, PrefixPace, duration
from clsbench.cli.display.run import LiveDisplay, PlainDisplay
from clsbench.components.catalog import load_catalog
from clsbench.components.values import RunPlan, StepReport
from clsbench.schema.record import EpochEntry, StepEntry

PLAN = RunPlan(
    experiment="fruit",
    stand_ins=("gpt2-nano in place of gpt2",),
    components={"dataset": "csv:path=fruit.csv", "backbone": "gpt2-nano"},
    device="cpu",
    precision="fp32",
    seed=123,
    epochs=2,
    steps=20,
    train_texts=80,
    max_length=12,
    parameters_total=1_000_000,
    parameters_trainable=1_000,
)


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def step_report(step: int) -> StepReport:
    return StepReport(step=step, epoch=step // 10, loss=lambda: 0.5, examples=8, real_tokens=80)


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


def test_evaluations_slow_down_the_time_left_and_not_the_throughput() -> None:
    clock = Clock()
    pace = Pace(PLAN, clock)
    assert pace.examples_per_second() is None
    assert pace.seconds_left() is None
    for step in range(10):
        clock.seconds += 2
        pace.step(step_report(step))
    clock.seconds += 20
    pace.pause()
    assert pace.examples_per_second() == pytest.approx(4)
    assert pace.seconds_left() == pytest.approx(20)
    clock.seconds += 2
    pace.step(step_report(10))
    assert pace.examples_per_second() == pytest.approx(4)
    assert pace.seconds_left() == pytest.approx(9 * 40 / 10)


def test_a_slow_first_step_and_evaluation_say_nothing_about_the_pace() -> None:
    clock = Clock()
    pace = Pace(PLAN, clock)
    clock.seconds += 60
    pace.step(step_report(0))
    clock.seconds += 30
    pace.pause()
    assert pace.examples_per_second() is None
    for step in range(1, 6):
        assert pace.seconds_left() is None
        clock.seconds += 2
        pace.step(step_report(step))
    assert pace.examples_per_second() == pytest.approx(4)
    assert pace.seconds_left() == pytest.approx(14 * 2)


def test_the_time_left_ends_where_another_number_of_parameters_trains() -> None:
    clock = Clock()
    plan = msgspec.structs.replace(PLAN, epochs=4, steps=40, trainable_by_epoch=(5, 5, 9, 9))
    pace = Pace(plan, clock)
    said = {}
    for step in range(40):
        clock.seconds += 1 if step < 20 else 3
        pace.step(step_report(step))
        said[step] = pace.left_text()
    assert said[9] == "0:10 left to epoch 2"
    assert said[10] == "0:09 left in epoch 2"
    assert said[20] == "", "what came before says nothing"
    assert said[29] == "0:30 left"
    assert said[39] == "0:00 left"


def test_nothing_is_left_at_the_end() -> None:
    clock = Clock()
    pace = Pace(PLAN, clock)
    clock.seconds += 1
    pace.step(step_report(19))
    assert pace.seconds_left() == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_plain_lines_come_now_and_then(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO, "clsbench")
    clock = Clock()
    display = PlainDisplay(show_plan=True, clock=clock)
    hook = load_catalog().lifecycle([display])
    hook.clsbench_run_started(plan=PLAN, name="a-run")
    hook.clsbench_phase_started(phase="training")
    for step in range(10):
        clock.seconds += 3
        hook.clsbench_step_finished(report=step_report(step))
        hook.clsbench_evaluated(entry=step_entry(step))
    hook.clsbench_epoch_finished(entry=EPOCH)
    assert "gpt2-nano in place of gpt2" in capsys.readouterr().err
    first, *lines = caplog.messages
    assert first == "training …"
    assert lines == [
        "epoch 1/2 step 0/20: loss train 0.610 validation 0.720",
        "epoch 1/2 step 4/20: loss train 0.610 validation 0.720, 2.67 texts/s",
        "epoch 1/2 step 8/20: loss train 0.610 validation 0.720, 2.67 texts/s, 0:33 left",
        "epoch 1/2 done: accuracy over a few batches train 90.0% validation 80.0% (1:15)",
    ]


@pytest.mark.parametrize("width", [80, 120])
def test_the_live_line_of_an_epoch_fits_too(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
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
            clock.seconds += 1
            display.clsbench_step_finished(step_report(step))
        display.clsbench_evaluated(step_entry(5))
        [line] = live.console.render_lines(live.get_renderable(), pad=False)
    text = "".join(segment.text for segment in line)
    assert len(text) < width
    assert "0:04 left in epoch 1" in text


@pytest.mark.parametrize("width", [80, 120])
def test_the_live_line_fits_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
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
            clock.seconds += 1
            hook.clsbench_step_finished(report=step_report(step))
        hook.clsbench_evaluated(entry=step_entry(5))
        [line] = live.console.render_lines(live.get_renderable(), pad=False)
        text = "".join(segment.text for segment in line)
        hook.clsbench_epoch_finished(entry=EPOCH)
    assert len(text) < width
    assert "epoch 1/2" in text
    assert "6/20 loss 0.500  val" in text
    assert "0.720  8 texts/s  0:14 left" in text
    assert "epoch 1/2 done: accuracy" in screen.getvalue()


def test_the_loss_is_not_read_at_every_step() -> None:
    """Reading it may have to wait for the device."""
    reads = []

    def loss() -> float:
        reads.append(1)
        return 0.5

    clock = Clock()
    display = LiveDisplay(show_plan=False, clock=clock)
    display.clsbench_run_started(PLAN)
    for step in range(10):
        clock.seconds += 0.05
        display.clsbench_step_finished(
            StepReport(step=step, epoch=0, loss=loss, examples=8, real_tokens=8)
        )
    assert len(reads) == 2


def test_downloads_as_plain_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "clsbench")
    clock = Clock()
    lines = TransferLines(clock)
    lines.started("gpt2/model", "https://a/model")
    for megabytes in range(0, 50, 10):
        clock.seconds += 6
        lines.received("gpt2/model", megabytes * 1_000_000, 50_000_000)
    assert lines.going()["gpt2/model"].received_bytes == 40_000_000
    lines.finished("gpt2/model", succeeded=True)
    assert lines.going() == {}
    assert caplog.messages == [
        "downloading gpt2/model from https://a/model",
        "downloading gpt2/model: 10.0 of 50.0 MB (20%)",
        "downloading gpt2/model: 30.0 of 50.0 MB (60%)",
        "downloaded gpt2/model from https://a/model",
    ]


@pytest.mark.parametrize(
    ("received", "total", "text"),
    [(0, None, "0.0 MB"), (1_500_000, 3_000_000, "1.5 of 3.0 MB (50%)"), (0, 0, "0.0 MB")],
)
def test_amounts(received: int, total: int | None, text: str) -> None:
    assert amount(received, total) == text


def test_the_prefix_has_lines_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "clsbench")
    clock = Clock()
    hook = load_catalog().lifecycle([PlainDisplay(show_plan=False, clock=clock)])
    hook.clsbench_run_started(plan=PLAN, name="a-run")
    hook.clsbench_phase_started(phase="prefix")
    hook.clsbench_prefix_progressed(done=0, total=1000)
    for done in range(100, 1001, 100):
        clock.seconds += 4
        hook.clsbench_prefix_progressed(done=done, total=1000)
    assert caplog.messages == [
        "prefix …",
        "frozen prefix: 300 of 1,000 tokens, 0:28 left",
        "frozen prefix: 600 of 1,000 tokens, 0:16 left",
        "frozen prefix: 900 of 1,000 tokens, 0:04 left",
    ]


def test_the_time_left_of_the_prefix_runs_down_between_two_batches() -> None:
    clock = Clock()
    pace = PrefixPace(clock)
    pace.progress(0, 1000)
    assert pace.seconds_left() is None
    clock.seconds += 10
    pace.progress(250, 1000)
    for waited, left in ((0, 30), (5, 25), (20, 5), (20, 0)):
        clock.seconds += waited
        assert pace.seconds_left() == pytest.approx(left)
    pace.progress(0, 500)
    clock.seconds += 10
    pace.progress(100, 500)
    assert pace.seconds_left() == pytest.approx(40)


@pytest.mark.parametrize("width", [80, 120])
def test_the_live_line_of_the_prefix(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
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
        clock.seconds += 10
        hook.clsbench_prefix_progressed(done=12_288, total=166_560)
        [line] = live.console.render_lines(live.get_renderable(), pad=False)
        text = "".join(segment.text for segment in line)
        assert "12,288/166,560 tokens" in text
        assert "2:06 left" in text
        assert len(text) <= width
        hook.clsbench_prefix_progressed(done=166_560, total=166_560)
        hook.clsbench_phase_started(phase="training")
        [line] = live.console.render_lines(live.get_renderable(), pad=False)
        assert "tokens" not in "".join(segment.text for segment in line)
