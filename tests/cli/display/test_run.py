"""Progress as an observer of the lifecycle, on a clock that the test moves."""

from __future__ import annotations

import io
import logging
import sys

import msgspec
import pytest

from clsbench.cli.display.downloads import DownloadBars, DownloadLines
from clsbench.cli.display.pace import TrainingProgress, duration, prefix_progress, update_prefix
from clsbench.cli.display.run import LiveDisplay, PlainDisplay
from clsbench.components.catalog import load_catalog
from clsbench.components.values import RunPlan, StepReport
from clsbench.report.terminal.console import Console
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


def test_training_progress_with_evaluations_slows_the_time_left_and_not_the_throughput() -> None:
    clock = Clock()
    training = TrainingProgress(PLAN, clock)
    assert training.rate_text() == training.left_text() == ""
    for step in range(10):
        clock.seconds += 2
        training.step(step_report(step))
    clock.seconds += 20
    training.pause()
    assert training.rate_text() == "4 texts/s"
    assert training.left_text() == "0:20 left"
    clock.seconds += 2
    training.step(step_report(10))
    assert training.rate_text() == "4 texts/s"
    assert training.left_text() == "0:38 left"


def test_training_progress_after_a_slow_first_step_and_evaluation_leaves_both_out() -> None:
    clock = Clock()
    training = TrainingProgress(PLAN, clock)
    clock.seconds += 60
    training.step(step_report(0))
    clock.seconds += 30
    training.pause()
    for step in range(1, 3):
        assert training.rate_text() == training.left_text() == ""
        clock.seconds += 2
        training.step(step_report(step))
    assert training.rate_text() == "4 texts/s"
    assert training.left_text() == "0:34 left"


def test_training_progress_with_gradual_unfreezing_estimates_to_the_next_change() -> None:
    clock = Clock()
    plan = msgspec.structs.replace(PLAN, epochs=4, steps=40, trainable_by_epoch=(5, 5, 9, 9))
    training = TrainingProgress(plan, clock)
    texts = {}
    for step in range(40):
        clock.seconds += 1 if step < 20 else 3
        training.step(step_report(step))
        texts[step] = training.left_text()
    assert texts[9] == "0:10 left to epoch 2"
    assert texts[10] == "0:09 left in epoch 2"
    assert texts[20] == ""
    assert texts[29] == "0:30 left"
    assert texts[39] == "0:00 left"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03")],
)
def test_duration_of_seconds_is_formatted(seconds: float, text: str) -> None:
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
        "epoch 1/2 step 4/20: loss train 0.610 validation 0.720, 2.67 texts/s, 0:45 left",
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
    assert len(text) <= width
    assert "00:04 left in epoch 1" in text


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
    assert len(text) <= width
    assert "epoch 1/2" in text
    assert "6/20 loss 0.500  val" in text
    assert "0.720 8 texts/s 00:14 left" in text
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


def test_download_lines_come_every_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "clsbench")
    clock = Clock()
    lines = DownloadLines(clock)
    for key, total in (("gpt2/model", 50_000_000), ("corpus", None)):
        lines.started(key, f"https://a/{key}")
        for megabytes in range(0, 50, 10):
            clock.seconds += 6
            lines.received(key, megabytes * 1_000_000, total)
    lines.finished("gpt2/model", succeeded=True)
    lines.finished("corpus", succeeded=False)
    assert caplog.messages == [
        "downloading gpt2/model from https://a/gpt2/model",
        "downloading gpt2/model: 10 MB of 50 MB (20%)",
        "downloading gpt2/model: 30 MB of 50 MB (60%)",
        "downloading corpus from https://a/corpus",
        "downloading corpus: 10 MB",
        "downloading corpus: 30 MB",
        "downloaded gpt2/model from https://a/gpt2/model",
    ]


def test_download_bars_show_each_download_until_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "clsbench")
    console = Console(file=io.StringIO(), width=80)
    downloads = DownloadBars(console)
    for url in ("https://a/model", "https://mirror/model"):
        downloads.started("gpt2/[model]", url)
    downloads.received("gpt2/[model]", 12_000_000, 50_000_000)
    downloads.started("corpus", "https://a/corpus")
    first, second = console.render_lines(downloads.bars, pad=False)
    text = "".join(segment.text for segment in first)
    assert text.startswith("gpt2/[model] ")
    assert "12.0/50.0 MB" in text
    assert "corpus" in "".join(segment.text for segment in second)
    for key in ("gpt2/[model]", "corpus", "never started"):
        downloads.finished(key, succeeded=key != "never started")
    assert downloads.bars.tasks == []
    assert caplog.messages == [
        "downloaded gpt2/[model] from https://mirror/model",
        "downloaded corpus from https://a/corpus",
    ]


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


def test_prefix_progress_that_starts_again_estimates_anew() -> None:
    clock = Clock()
    prefix = prefix_progress(clock)
    for total in (1000, 1000, 500):
        update_prefix(prefix, 0, total)
        assert not prefix.finished
        for done in (100, 200):
            clock.seconds += 10
            update_prefix(prefix, done, total)
        assert prefix.tasks[0].time_remaining == (total - 200) / 10
        update_prefix(prefix, total, total)
        assert prefix.finished
    update_prefix(prefix, 0, 0)
    assert prefix.finished, "all of it is cached"


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
        for done in (12_288, 24_576):
            clock.seconds += 10
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
