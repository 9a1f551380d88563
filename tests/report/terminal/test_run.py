"""A run on a terminal: results, published values, warnings."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from metric_examples import SHOWN
from record_examples import (
    PUBLISHED,
    STAND_INS,
    make_history,
    make_metrics,
    make_record,
)
from rich.console import Console
from terminal_views import PLAN, WIDTHS, flat, show

from clsbench.analysis.results_table import results_table
from clsbench.analysis.seeds import summarize_seeds
from clsbench.report.terminal.figures import comparable_figures
from clsbench.report.terminal.listing import runs_table
from clsbench.report.terminal.run import print_dry_run, print_plan, print_run, print_seeds
from clsbench.results.store import StoredRun
from clsbench.schema.record import DataFacts, Metrics, ModelSelection, RunRecord

PATH = Path("runs/20251121T101729Z-gpt2-sms-spam-1a2b3c4d")


def shown_run(record: RunRecord, width: int = 80, path: Path | None = PATH) -> str:
    return show(lambda console: print_run(console, record, SHOWN, path), width)


def every_view() -> dict[str, Callable[[Console], None]]:
    whole, marked = make_record(), make_record(stand_ins=STAND_INS, published=None)
    failed = make_record(
        status="failed", metrics=None, baselines=(), error="loss nan", history=make_history(1)
    )
    seeds = [make_record(seed=s, metrics=make_metrics(0.9 + s / 100, seed=s)) for s in range(3)]
    table = results_table(
        StoredRun(Path(f"20251121T101729Z-gpt2-sms-spam-{i:08d}"), r)
        for i, r in enumerate((whole, marked, failed))
    )
    shown = table[["run", "status", "stand_ins", "test_accuracy", "trainable_parameters"]]
    return {
        "plan": lambda c: print_plan(c, PLAN),
        "run": lambda c: print_run(c, whole, SHOWN),
        "marked": lambda c: print_run(c, marked, SHOWN),
        "failed": lambda c: print_run(c, failed, SHOWN),
        "dry": lambda c: print_dry_run(c, make_record(status="planned")),
        "seeds": lambda c: print_seeds(c, summarize_seeds(seeds, SHOWN.all()), SHOWN),
        "listing": lambda c: c.print(runs_table(shown), highlight=False),
    }


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("view", list(every_view()))
def test_view_at_every_width_fits_and_is_complete(view: str, width: int) -> None:
    text = show(every_view()[view], width)
    assert text.strip()
    assert "\x1b" not in text
    for line in text.partition("\nSpec\n")[0].splitlines():  # the spec is not wrapped
        assert len(line) <= width, line
    assert "…" not in text


def test_view_on_a_terminal_is_colored() -> None:
    file = io.StringIO()
    every_view()["marked"](Console(file=file, width=80, force_terminal=True))
    assert "\x1b[" in file.getvalue()


@pytest.mark.parametrize("width", WIDTHS)
def test_print_run_shows_the_recorded_values(width: int) -> None:
    record = make_record()
    assert record.metrics is not None
    text = flat(shown_run(record, width))
    test = record.metrics.test
    low, high = test.interval
    accuracy, interval = f"{100 * test.accuracy:.2f} %", f"{100 * low:.1f}–{100 * high:.1f}"
    assert test.without_leaked is not None
    unleaked = f"{100 * test.without_leaked.accuracy:.2f} %"
    baselines = [f"{100 * b.metrics.test.accuracy:.2f} %" for b in record.baselines]
    if width >= 80:
        assert f"test 300 {accuracy} {interval} {test.loss:.4f} {test.macro_f1:.4f}" in text
        assert f"263 {unleaked}" in text
        assert all(f"300 {baseline}" in text for baseline in baselines)
    else:
        assert f"{accuracy} {interval}" in text
        assert unleaked in text
        assert "Not shown for lack of space: " in text
        assert all(baseline in text for baseline in baselines)
    for expected in (
        "13 of 149 validation and 37 of 300 test texts occur word for word in the training split",
        "74.67 % of the training tokens are padding",
        "7,090,946 of 124,441,346 trained (5.70 %)",
        "3 min 14 s (assets 0.1, data 1.2, model 3.4, training 167.8, evaluation 21.0",
        "31.2 examples/s, 948 real tokens/s (3,744 with padding)",
        "1.1 GB at the peak",
    ):
        assert expected in text
    (hams, _), (_, spams) = test.confusion
    assert re.search(rf"ham {hams} \d+ spam \d+ {spams}", text)


def test_print_run_paths_are_not_wrapped(tmp_path: Path) -> None:
    path = tmp_path / ("a long name " * 8)
    path.mkdir()
    (path / "loss.svg").touch()
    lines = shown_run(make_record(), 60, path).splitlines()
    assert f"  record  {path / 'record.json'}" in lines
    assert f"  plot    {path / 'loss.svg'}" in lines
    assert not any("accuracy.svg" in line for line in lines)


def with_test_accuracy(correct: int) -> Metrics:
    from clsbench.analysis.metrics import wilson_interval

    metrics = make_metrics()
    test = msgspec.structs.replace(
        metrics.test,
        correct=correct,
        accuracy=correct / 300,
        interval=wilson_interval(correct, 300),
    )
    return msgspec.structs.replace(metrics, test=test)


@pytest.mark.parametrize(
    ("correct", "verdict"),
    [
        (287, "95.67 % 95.67 % +0.00 pp within"),
        (290, "96.67 % 95.67 % +1.00 pp within"),
        (270, "90.00 % 95.67 % -5.67 pp outside"),
        (299, "99.67 % 95.67 % +4.00 pp outside"),
    ],
)
def test_published_accuracy_is_within_or_outside_the_interval(correct: int, verdict: str) -> None:
    text = flat(shown_run(make_record(metrics=with_test_accuracy(correct))))
    assert f"test {verdict}" in text
    assert PUBLISHED.source in text
    assert PUBLISHED.conditions in text
    assert "unchanged experiment" not in text
    ours, _, theirs, _, difference, _, where = verdict.split()
    narrow = flat(shown_run(make_record(metrics=with_test_accuracy(correct)), 40))
    expected = (
        f"measured {ours} % published {theirs} % difference {difference} pp 95 % interval {where}"
    )
    assert expected in narrow


@pytest.mark.parametrize("width", [40, 50])
def test_published_losses_on_a_narrow_terminal_are_shown(width: int) -> None:
    record = make_record()
    text = flat(shown_run(record, width))
    for step, train, validation in PUBLISHED.losses:
        published = f"{train:.3f} {validation:.3f}" if width > 40 else f"{validation:.3f}"
        assert re.search(rf" {step} \S+ \S+ {published}", text), step


def test_published_losses_are_in_the_row_of_their_step() -> None:
    record = make_record()
    assert record.history is not None
    text = flat(shown_run(record))
    for entry, (step, train, validation) in zip(
        record.history.steps, PUBLISHED.losses, strict=True
    ):
        row = f"{entry.train_loss:.3f} {entry.validation_loss:.3f} {train:.3f} {validation:.3f}"
        assert f"{step} {entry.examples_seen:,} {row}" in text


def test_published_results_of_a_modified_run_carry_a_warning() -> None:
    text = flat(shown_run(make_record(modified=True)))
    assert "These results are of the unchanged experiment; this run changed it." in text
    assert "gpt2-sms-spam (modified)" in text


def test_stand_ins_are_in_every_title_and_not_compared_with_published_results() -> None:
    record = make_record(stand_ins=STAND_INS)  # which has published results
    assert comparable_figures(record) is None
    text = shown_run(record)
    assert text.index("STAND-INS") < 5
    for table in ("Metrics on whole splits", "Mean loss over a few batches", "Test texts by class"):
        assert re.search(rf"{table}.*\(STAND-INS: synthetic-sms, gpt2-nano\)", flat(text)), table
    assert "ublished" not in flat(text).replace("never compared with published results", "")
    assert "Raschka" not in text
    assert "offline, and not found: gpt2/model.safetensors" in flat(text)


def test_losses_of_a_long_run_are_evenly_spaced() -> None:
    record = make_record(history=make_history(epochs=40), published=None)
    assert record.history is not None
    text = shown_run(record)
    rows = [line for line in text.splitlines() if re.match(r"\s+[\d,]+\s+[\d,]+\s+\d\.\d{3}", line)]
    assert len(rows) == 14
    steps = [int(row.split()[0].replace(",", "")) for row in rows]
    assert steps[0] == 0
    assert steps[-1] == record.history.steps[-1].step
    left_out = len(record.history.steps) - 14
    assert f"{left_out:,} more evaluation points are in the record" in text


def test_losses_of_a_long_run_include_the_published_steps() -> None:
    record = make_record(history=make_history(epochs=40))
    text = flat(shown_run(record))
    for step, train, validation in PUBLISHED.losses:
        assert re.search(rf" {step} [\d,]+ \S+ \S+ {train:.3f} {validation:.3f}", text), step


@pytest.mark.parametrize("status", ["interrupted", "failed"])
def test_print_run_ended_early_shows_the_status_and_what_is_known(status: str) -> None:
    for changes in (
        {"metrics": None, "baselines": ()},
        {"metrics": None, "baselines": (), "history": None, "throughput": None, "data": None},
        {"metrics": None, "parameters": None, "phases_seconds": {}, "peak_memory_bytes": None},
    ):
        text = flat(shown_run(make_record(status=status, error="why it ended", **changes)))
        assert f"gpt2-sms-spam {status.upper()}" in text
        assert "why it ended" in text
        assert "95 %" not in text


def many_classes(count: int) -> RunRecord:
    record = make_record(metrics=make_metrics(0.8, num_classes=count))
    assert record.data is not None
    names = tuple(f"class number {i}" for i in range(count))
    facts: DataFacts = msgspec.structs.replace(
        record.data,
        class_names=names,
        class_counts={split: dict.fromkeys(names, 10) for split in record.data.sizes},
    )
    return msgspec.structs.replace(record, data=facts)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", [3, 8, 9, 120])
def test_confusion_of_many_classes_fits_the_width(count: int, width: int) -> None:
    text = shown_run(many_classes(count), width)
    assert all(len(line) <= width for line in text.splitlines() if "record.json" not in line)
    assert ("Most frequent mistakes" in text) == (count > 8 or (count == 8 and width < 80))
    if count == 3:
        record = many_classes(3)
        assert record.metrics is not None
        for row in record.metrics.test.confusion:
            assert re.search(" +".join(map(str, row)), text)


def test_run_with_balancing_shows_the_dropped_texts() -> None:
    dropped = {"billing": 150, "technical": 60}
    record = make_record()
    assert record.data is not None
    record = msgspec.structs.replace(
        record, data=msgspec.structs.replace(record.data, dropped=dropped)
    )
    plan = msgspec.structs.replace(PLAN, dropped=dropped)
    expected = (
        "left out 210 texts (billing 150, technical 60): data.balance=true cuts every class to the "
        "size of the smallest; data.balance=false keeps all"
    )
    for text in (
        shown_run(record),
        show(lambda console: print_plan(console, plan)),
        show(lambda console: print_dry_run(console, record)),
    ):
        assert expected in flat(text)
    assert "left out" not in show(lambda console: print_plan(console, PLAN))


def test_dry_run_shows_the_warnings() -> None:
    record = make_record(status="planned", warnings=("the labels look odd",))
    assert "warning: the labels look odd" in show(lambda console: print_dry_run(console, record))


def test_names_with_markup_and_controls_are_escaped() -> None:
    record = make_record(
        experiment="[bold]a[/bold] \x1b[31m:smile: \r\n",
        error="[/nonsense]",
        status="failed",
        warnings=("[red]warn",),
    )
    assert record.data is not None
    facts = msgspec.structs.replace(record.data, class_names=("[dim]", "\x1b]0;x\x07"))
    text = shown_run(msgspec.structs.replace(record, data=facts), 120)
    assert r"[bold]a[/bold] \x1b[31m:smile: \r\n" in text
    assert "[/nonsense]" in text
    assert "warning: [red]warn" in text
    assert "[dim]" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("used", "stopped", "said"),
    [
        (2, False, "epoch 2 of 3 is used, the best on validation (accuracy 0.9500)"),
        (3, True, "epoch 3 of 3 is used; the best on validation was epoch 2 (accuracy 0.9500); "
         "stopped early by train.patience"),
        (None, False, "best of 3 on validation: epoch 2 (accuracy 0.9500)"),
    ],
)  # fmt: skip
def test_print_run_shows_the_selected_epoch(used: int | None, stopped: bool, said: str) -> None:
    selection = ModelSelection(
        metric="accuracy",
        scores=(0.9, 0.95, 0.93),
        best_epoch=2,
        used_epoch=used,
        stopped_early=stopped,
    )
    history = msgspec.structs.replace(make_history(), selection=selection)
    assert said in flat(shown_run(make_record(history=history), width=200))
