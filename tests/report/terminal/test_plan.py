"""A plan, a dry run and a table of seeds on a terminal."""

from __future__ import annotations

import msgspec
import pytest
from metric_examples import SHOWN
from record_examples import (
    STAND_INS,
    make_metrics,
    make_parameters,
    make_record,
    make_spec,
)
from terminal_views import PLAN, WIDTHS, flat, show

from clsbench.analysis.seeds import summarize_seeds
from clsbench.report.terminal.plan import adapter_note, parameter_table
from clsbench.report.terminal.run import print_dry_run, print_plan, print_seeds
from clsbench.schema.experiment import from_tree, parse_toml
from clsbench.schema.record import ParameterCounts, StageParameters


@pytest.mark.parametrize("width", WIDTHS)
def test_banner_shows_the_plan(width: int) -> None:
    text = flat(show(lambda console: print_plan(console, PLAN), width))
    assert text.startswith("gpt2-sms-spam dataset sms-spam")
    for expected in (
        "freezing last-blocks:n=1",
        "device cpu, fp32, seed 123",
        "5 epochs, 650 batches from 1,045 texts of up to 120 tokens",
        "7,092,482 of 124,441,346 trained (5.70 %)",
    ):
        assert expected in text


def test_banner_starts_with_the_stand_ins() -> None:
    marked = msgspec.structs.replace(PLAN, stand_ins=("gpt2-nano in place of gpt2",))
    text = show(lambda console: print_plan(console, marked))
    assert text.index("STAND-INS") < text.index("gpt2-nano in place of gpt2")
    assert text.index("gpt2-nano in place of gpt2") < text.index("gpt2-sms-spam")
    assert "not the real experiment" in flat(text)


def test_dry_run_shows_parameters_memory_data_and_the_spec() -> None:
    record = make_record(status="planned", metrics=None, history=None)
    text = show(lambda console: print_dry_run(console, record), 60)
    assert "nothing is trained" in text
    assert (
        "about 1.23 GB of tensors at the peak of training, plus the process and its libraries"
    ) in flat(text)
    assert "1,045 train, 149 validation and 300 test" in flat(text)
    rows = [line.split() for line in text.splitlines()]
    assert ["embeddings", "39,383,808", "frozen"] in rows
    assert ["block.0", "to", "block.10", "77,966,592", "frozen"] in rows
    assert ["block.11", "7,087,872", "7,087,872"] in rows
    assert ["all", "124,441,346", "7,090,946"] in rows
    toml = text[text.index('name = "gpt2-sms-spam"') :]
    assert parse_toml(toml, "shown") == from_tree(record.spec, "record")


def test_dry_run_long_value_in_the_spec_is_not_wrapped() -> None:
    spec = {**make_spec(), "dataset": {"name": "csv", "path": "/a/very/long/path" * 9}}
    record = make_record(status="planned", spec=spec)
    text = show(lambda console: print_dry_run(console, record), 60)
    toml = text[text.index('name = "gpt2-sms-spam"') :]
    assert parse_toml(toml, "shown") == from_tree(spec, "record")


def test_parameter_table_lists_counts_that_change_by_epoch() -> None:
    counts = msgspec.structs.replace(make_parameters(), trainable_by_epoch=(1_538, 7_090_946))
    text = show(lambda console: console.print(parameter_table(counts)))
    assert "trained by epoch: 1,538, 7,090,946" in text


def test_parameter_table_different_stages_have_rows_of_their_own() -> None:
    stages = [
        StageParameters(stage=name, total=total, trainable=trained)
        for name, total, trained in (
            ("embeddings", 5, 0),
            ("block.0", 7, 0),
            ("block.1", 7, 0),
            ("block.2", 7, 3),
            ("block.3", 8, 0),
            ("norm.0", 8, 0),
        )
    ]
    counts = ParameterCounts(total=42, trainable=3, stages=tuple(stages))
    text = flat(show(lambda console: console.print(parameter_table(counts))))
    assert "embeddings 5 frozen block.0 to block.1 14 frozen block.2 7 3 block.3 8 frozen" in text
    assert "norm.0 8 frozen all 42 3" in text


def test_seeds_table_shows_mean_and_deviation() -> None:
    records = [make_record(seed=s, metrics=make_metrics(0.9, seed=s)) for s in (123, 124)]
    failed = make_record(seed=125, status="failed", metrics=None)
    summary = summarize_seeds([*records, failed], SHOWN.all())
    text = flat(show(lambda console: print_seeds(console, summary, SHOWN)))
    assert "2 of 3 seeds finished: 123, 124" in text
    accuracy = summary.splits["test"]["accuracy"]
    assert accuracy is not None
    assert accuracy.sd is not None
    assert f"test accuracy {100 * accuracy.mean:.2f} % ± {100 * accuracy.sd:.2f}" in text

    assert f"–{100 * accuracy.max:.1f} " in text
    assert "of mean" not in text, "two seeds give no interval"


@pytest.mark.parametrize("width", WIDTHS)
def test_seeds_table_is_complete_at_every_width(width: int) -> None:
    records = [make_record(seed=s, metrics=make_metrics(0.9, seed=s)) for s in range(3)]
    summary = summarize_seeds(records, SHOWN.all())
    accuracy = summary.splits["test"]["accuracy"]
    assert accuracy is not None
    assert accuracy.interval is not None
    assert accuracy.sd is not None
    text = flat(show(lambda console: print_seeds(console, summary, SHOWN), width))
    text = text.replace("mean ± sd ", "")  # the header, in a list
    assert f"test accuracy {100 * accuracy.mean:.2f} % ± {100 * accuracy.sd:.2f}" in text
    low, high = accuracy.interval
    assert f"{100 * low:.1f}–{100 * high:.1f}" in text


def test_seeds_table_without_finished_runs_says_so() -> None:
    summary = summarize_seeds(
        [make_record(status="failed", metrics=None, stand_ins=STAND_INS)], SHOWN.all()
    )
    text = flat(show(lambda console: print_seeds(console, summary, SHOWN)))
    assert "0 of 1 seeds finished: none" in text
    assert "STAND-INS: synthetic-sms:texts=1494, gpt2-nano" in text


@pytest.mark.parametrize(
    ("adapter", "stages", "expected"),
    [
        (None, ("block.11", "head"), None),
        ("lora:r=8", ("adapter", "head"), None),
        ("lora:r=8", ("block.11", "final_norm", "adapter", "head"), "block.11 and final_norm are"),
        (
            "lora",
            ("embeddings", *(f"block.{n}" for n in range(12)), "final_norm", "adapter"),
            "embeddings, block.0 … final_norm (14 stages) are",
        ),
    ],
)
def test_adapter_note_names_the_stages_that_train_beside_the_adapter(
    adapter: str | None, stages: tuple[str, ...], expected: str | None
) -> None:
    note = adapter_note(adapter, stages)
    assert note is None if expected is None else note is not None and expected in note


def test_plan_notes_that_the_backbone_trains_beside_an_adapter() -> None:
    parts = {**PLAN.components, "adapter": "lora:r=8,alpha=8.0"}
    stages = ("block.11", "final_norm", "adapter", "head")
    plan = msgspec.structs.replace(PLAN, components=parts, trained_stages=stages)
    message = "in addition to the adapter lora, the backbone's block.11 and final_norm are trained"
    assert message in flat(show(lambda console: print_plan(console, plan)))
    alone = msgspec.structs.replace(plan, trained_stages=stages[2:])
    assert "in addition" not in flat(show(lambda console: print_plan(console, alone)))
