"""The command of a row can be pasted into a shell and repeats that row."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import msgspec
import pytest
from record_examples import STAND_INS, make_spec
from report_examples import Row, make_figures

from clsbench.analysis.row_figures import RowFigures
from clsbench.analysis.suite_figures import SuiteFigures
from clsbench.components.catalog import Catalog, load_catalog
from clsbench.components.resolve import find_spec, resolve
from clsbench.report.page import commands
from clsbench.report.page.commands import (
    differences,
    predict_words,
    row_command,
    shell_line,
    shell_lines,
    suite_command,
    train_command,
)
from clsbench.schema.experiment import override, to_tree
from clsbench.schema.record import FastPath, Shortcut


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog()


def first(figures: SuiteFigures) -> RowFigures:
    return figures.rows[0]


def words_in_a_shell(command: str) -> list[str]:
    """The words that a shell passes to ``clsbench``."""
    echo = "import json, sys; print(json.dumps(sys.argv[1:]))"
    script = f"clsbench() {{ python3 -c '{echo}' \"$@\"; }}\n{command}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True, encoding="utf-8")
    words: list[str] = json.loads(done.stdout)
    return words


def test_row_command_of_a_suite_has_the_row_changes(tmp_path: Path, catalog: Catalog) -> None:
    changes = {
        "freezing": {"name": "last-blocks", "n": 2},
        "dataset": "csv:path=it's $HOME; rm -rf x.csv",
        "train.lr": 1e-4,
        "train.optimizer": {"name": "adamw", "beta2": 0.98},
        "train.schedule.warmup": 0.1,
        "data.balance": False,
        "baselines": [{"name": "majority"}],
        "seed": 5,
    }
    fast = FastPath(
        shortcuts=(Shortcut(name="prefix", taken=False, detail="switched off by --plain"),)
    )
    row = Row(changes=changes, seeds=(123, 124), record={"stand_ins": STAND_INS, "fast_path": fast})
    figures = make_figures(tmp_path, [row, Row()])
    command = row_command(first(figures), figures.results, catalog)
    assert command is not None
    assert words_in_a_shell(command) == [
        *("run", "gpt2-sms-spam", "--freezing", "last-blocks:n=2"),
        *("--dataset", "csv:path=it's $HOME; rm -rf x.csv", "--set", "train.lr=0.0001"),
        *("--optimizer", "adamw:beta2=0.98", "--set", "train.schedule.warmup=0.1"),
        *("--set", "data.balance=false", "--set", 'baselines=[{"name" = "majority"}]'),
        *("--seeds", "123,124", "--device", "cpu", "--threads", "2", "--plain", "--offline"),
    ]
    assert suite_command(figures) == "clsbench suite a-suite"


def test_row_command_of_a_suite_loads_its_plugins(tmp_path: Path, catalog: Catalog) -> None:
    suite = ("clsbench", "--plugin", "my head.py", "--plugin=other.py", "suite", "a-suite")
    figures = make_figures(tmp_path, [Row(changes={"head": "mine"})], command=suite)
    command = row_command(first(figures), figures.results, catalog)
    assert command is not None
    assert words_in_a_shell(command)[:6] == [
        *("--plugin", "my head.py", "--plugin=other.py", "run", "gpt2-sms-spam", "--head"),
    ]


def test_row_command_of_a_single_run_has_its_changes(tmp_path: Path, catalog: Catalog) -> None:
    spec = find_spec("gpt2-sms-spam", catalog)
    changed = override(
        spec,
        {
            "freezing": "all",
            "train.lr": 1e-3,
            "train.schedule": "constant:warmup=0.1",
            "data.split.name": "book-ablation",
        },
    )
    tree = to_tree(resolve(changed, {}, catalog).spec)
    figures = make_figures(tmp_path, [Row(record={"spec": tree}), Row()], command=())
    command = row_command(first(figures), figures.results, catalog)
    assert command is not None
    words = shlex.split(command)
    assert words[:3] == ["clsbench", "run", "gpt2-sms-spam"]
    assert words[words.index("--freezing") + 1] == "all"
    assert "train.lr=0.001" in words
    assert words[words.index("--schedule") + 1] == "constant:warmup=0.1"
    assert "--optimizer" not in words
    assert "data.split.name=book-ablation" in words
    assert "--pooling" not in words
    assert suite_command(figures) is None


def test_row_command_of_an_unknown_experiment_writes_its_file(
    tmp_path: Path, catalog: Catalog
) -> None:
    spec = {**make_spec(), "name": "mine", "description": "END\nof it"}
    row = Row(record={"spec": spec, "experiment": "mine"})
    figures = make_figures(tmp_path, [row, Row()], command=())
    command = row_command(first(figures), figures.results, catalog)
    assert command is not None
    folder = tmp_path / "shell"
    folder.mkdir()
    script = f'clsbench() {{ echo "$2"; }}\n{command}'
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, check=True)
    assert done.stdout.strip() == b"experiment.toml"
    written = find_spec(folder / "experiment.toml", catalog)
    assert to_tree(resolve(written, {}, catalog).spec)["freezing"] == {
        "name": "last-blocks",
        "n": 1,
    }


def test_shell_line_control_characters_are_escaped() -> None:
    line = shell_line(["clsbench", "run", "a\nb\x1b'c\u202e\x85\\"])
    assert line.isprintable()
    assert words_in_a_shell(line) == ["run", "a\nb\x1b'c\u202e\x85\\"]


def test_differences_nested_settings_have_dotted_keys() -> None:
    before = {"name": "a", "freezing": {"name": "all"}, "train": {"lr": 1.0, "epochs": 5},
              "adapter": {"name": "lora"}}  # fmt: skip
    after = {"name": "b", "freezing": {"name": "all"}, "train": {"lr": 2.0, "epochs": 5}}
    assert differences(before, after) == {"train.lr": 2.0, "adapter": None}


def test_row_command_without_runs_is_none(tmp_path: Path, catalog: Catalog) -> None:
    figures = make_figures(tmp_path, [Row()])
    row = first(figures)._replace(runs=())
    assert row_command(row, msgspec.structs.replace(figures.results), catalog) is None


def test_shell_lines_long_command_is_continued_with_backslashes() -> None:
    words = ["clsbench", "predict", "20261130T031448Z-gpt2", "--baseline", "tfidf", "it's a text"]
    lines = shell_lines(words, 40)
    assert max(map(len, lines.splitlines())) <= 40
    assert lines.count("\\\n") == len(lines.splitlines()) - 1 >= 1
    assert words_in_a_shell(lines) == words[1:]
    assert shell_lines(words, 200) == shell_line(words)


def test_train_command_is_that_of_the_row_and_none_for_a_baseline(
    tmp_path: Path, catalog: Catalog
) -> None:
    figures = make_figures(tmp_path, [Row(accuracy=0.6), Row(changes={"freezing": "all"})])
    assert figures.comparison is not None
    row = figures.rows[1]
    assert row.contender is not None
    command = train_command(figures, row.contender, catalog)
    assert command == row_command(row, figures.results, catalog)
    baseline = next(each for each in figures.comparison.contenders if not each.runs)
    assert train_command(figures, baseline, catalog) is None
    assert train_command(figures, None, catalog) is None


def test_predict_words_name_the_run_of_the_contender(tmp_path: Path) -> None:
    figures = make_figures(tmp_path, [Row(), Row(accuracy=0.6)])
    runs = [run for row in figures.rows for run in row.runs]
    assert predict_words(figures.rows[1].contender, runs) == [
        *("predict", runs[1].path.name, "a text"),
    ]
    assert predict_words(None, runs)[1] == runs[0].path.name


def test_predict_words_of_a_baseline_name_the_run_with_the_most_training_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = make_figures(tmp_path, [Row(), Row(accuracy=0.6)])
    assert figures.comparison is not None
    baseline = next(each for each in figures.comparison.contenders if not each.runs)
    stored = [baseline.name.removeprefix("baseline ")]
    monkeypatch.setattr(commands, "stored_baselines", lambda run: stored)
    few, many = (run for row in figures.rows for run in row.runs)
    assert few.record.data is not None
    data = msgspec.structs.replace(few.record.data, sizes={**few.record.data.sizes, "train": 1})
    few = few._replace(record=msgspec.structs.replace(few.record, data=data))
    assert predict_words(baseline, [few, many])[1] == many.path.name


def test_predict_words_for_text_pairs_have_a_second_text(tmp_path: Path) -> None:
    figures = make_figures(tmp_path, [Row()])
    (run,) = figures.rows[0].runs
    assert run.record.data is not None
    data = msgspec.structs.replace(run.record.data, text_pairs=True)
    pairs = run._replace(record=msgspec.structs.replace(run.record, data=data))
    assert predict_words(None, [pairs])[-3:] == ["a text", "--pair", "another text"]
