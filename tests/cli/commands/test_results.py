from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from command_line import Command
from record_examples import STAND_INS, make_metrics, make_record, make_spec
from terminal import on_a_terminal

from clsbench.analysis.results_table import load_results
from clsbench.results.store import run_directory, run_name, write_record

FREEZINGS = ({"name": "all"}, {"name": "last-blocks", "n": 2}, {"name": "head-only"})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs, one of them with stand-ins, and a damaged one."""
    folder = tmp_path_factory.mktemp("store")
    for i, freezing in enumerate(FREEZINGS):
        record = make_record(
            spec=make_spec(123, freezing),
            metrics=make_metrics(0.96 - i / 20, seed=i),
            stand_ins=STAND_INS if i == 2 else (),
            created=f"2025-11-2{i}T00:00:00+00:00",
        )
        with run_directory(folder, run_name(record)) as directory:
            write_record(directory, record)
    broken = folder / "20251123T000000Z-broken-00000000"
    broken.mkdir()
    (broken / "record.json").write_text("{")
    return folder


def test_results_lists_all_runs_and_names_damaged_ones(in_process: Command, store: Path) -> None:
    ended = in_process("results", "--out", store)
    assert ended.returncode == 0
    names = sorted(path.name for path in store.iterdir())
    for name in names[:3]:
        assert name in ended.stdout
    assert names[3] not in ended.stdout
    assert names[3] in ended.stderr
    assert "Traceback" not in ended.stderr
    for expected in ("all", "last-blocks:n=2", "head-only", "synthetic-sms, gpt2-nano"):
        assert expected in ended.stdout
    assert "STAND-INS" in ended.stdout


def test_results_with_columns_where_and_sort_selects_them(in_process: Command, store: Path) -> None:
    ended = in_process(
        *("results", "--out", store, "--format", "csv", "--sort", "-test_accuracy"),
        *("--columns", "freezing, test_accuracy", "--where", "test_accuracy < 0.95"),
    )
    assert ended.returncode == 0, ended.stderr
    rows = list(csv.reader(io.StringIO(ended.stdout)))
    assert rows[0] == ["freezing", "test_accuracy", "stand_ins"]
    assert [row[0] for row in rows[1:]] == ["last-blocks:n=2", "head-only"]
    assert [row[2] for row in rows[1:]] == ["", "synthetic-sms, gpt2-nano"]
    table = load_results(store)
    assert sorted(float(row[1]) for row in rows[1:]) == sorted(table["test_accuracy"])[:2]


def test_results_json_is_an_array_with_all_columns(in_process: Command, store: Path) -> None:
    ended = in_process("results", "--json", env={"CLSBENCH_RUNS": str(store)})
    rows = json.loads(ended.stdout)
    assert len(rows) == 3
    assert list(rows[0]) == list(load_results(store).columns)


@pytest.mark.parametrize(("form", "mark"), [("markdown", "| run "), ("latex", "\\begin{tabular}")])
def test_results_in_other_formats_prints_them(
    in_process: Command, store: Path, form: str, mark: str
) -> None:
    ended = in_process("results", "--out", store, "--format", form)
    assert ended.returncode == 0
    assert mark in ended.stdout
    assert "gpt2-nano" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--columns", "tset_accuracy"], "no column 'tset_accuracy'; did you mean test_accuracy"),
        (["--columns", ","], "columns is empty"),
        (["--sort", "acuracy"], "no column 'acuracy'"),
        (["--where", "test_accuracy >"], "is not a valid expression"),
        (["--where", "__import__('os').system('true')"], "is not supported"),
        (["--format", "json"], "'json' is not one of"),
        (["--format", "csv", "--json"], "--json and --format csv cannot be combined"),
        (
            ["-o", "runs.xlsx"],
            "unknown extension '.xlsx'; expected one of .csv, .json, .md, .tex, or --format",
        ),
        (["-o", "nowhere/runs.csv"], "nowhere does not exist"),
    ],
)
def test_results_with_invalid_options_explains_the_error(
    in_process: Command, store: Path, arguments: list[str], message: str
) -> None:
    ended = in_process("results", "--out", store, *arguments)
    assert ended.returncode == 2
    if "--json" in arguments:
        assert message in json.loads(ended.stdout)["error"]
    else:
        assert ended.stdout == ""
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_results_with_output_write_the_form_of_the_ending(
    in_process: Command, store: Path, tmp_path: Path
) -> None:
    file = tmp_path / "runs.csv"
    ended = in_process("results", "--out", store, "-o", file, "--columns", "all")
    assert (ended.returncode, ended.stdout) == (0, "")
    assert file.read_text() == in_process("results", "--out", store, "--format", "csv").stdout


def test_results_without_runs_explains_the_cause(
    in_process: Command, tmp_path: Path, store: Path
) -> None:
    default = in_process("results")
    assert (default.returncode, default.stdout) == (0, "")
    assert "no runs in runs yet; create one with clsbench run" in default.stderr
    assert json.loads(in_process("results", "--json").stdout) == []
    missing = in_process("results", "--out", tmp_path / "gone")
    assert missing.returncode == 2
    assert f"the folder of runs {tmp_path / 'gone'} does not exist" in missing.stderr
    (tmp_path / "file").touch()
    in_the_way = in_process("results", "--out", tmp_path / "file")
    assert in_the_way.returncode == 2
    assert "is not a folder" in in_the_way.stderr
    nothing_fits = in_process("results", "--out", store, "--where", "seed == 7")
    assert nothing_fits.returncode == 0
    assert "matches --where (3 checked)" in nothing_fits.stderr


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_results_default_table_fits_the_terminal(store: Path, width: int) -> None:
    lines = on_a_terminal(width, "-q", "results", "--out", store).text.splitlines()
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    for accuracy in load_results(store)["test_accuracy"]:
        assert f"{accuracy:.4f}" in words
    assert "last-blocks:n=2" in words
    assert "head-only" in words
    assert "STAND-INS" in words
    tabular = any({"run", "freezing"} <= set(line.split()) for line in lines)
    assert tabular == (width >= 80)
    assert sum(words.count(name) for name in ("*", "gpt2-nano")) >= 1


def test_results_in_a_pipe_prints_one_line_per_run(in_process: Command, store: Path) -> None:
    lines = in_process("results", "--out", store, env={"COLUMNS": "40"}).stdout.splitlines()
    [line] = [line for line in lines if "last-blocks:n=2" in line]
    assert line.split()[0] in {path.name for path in store.iterdir()}
    assert len(line) > 100


def test_results_with_too_many_columns_prints_one_per_line(store: Path) -> None:
    text = on_a_terminal(80, "-q", "results", "--out", store, "--columns", "all").text
    assert ["freezing", "last-blocks:n=2"] in [line.split() for line in text.splitlines()]
    assert max(map(len, text.splitlines())) <= 80


def test_results_with_a_limit_prints_the_last_or_best_runs(
    in_process: Command, store: Path
) -> None:
    names = [path.name for path in sorted(store.iterdir())][:3]
    last = in_process("results", "--out", store, "--limit", "1")
    assert [name for name in names if name in last.stdout] == names[2:]
    assert "the last 1 of 3 runs; --limit 0 shows all" in last.stderr
    best = in_process("results", "--out", store, "--limit", "1", "--sort", "-test_accuracy")
    assert [name for name in names if name in best.stdout] == names[:1]
    assert "the first 1 of 3" in best.stderr
    assert in_process("results", "--out", store, "--limit", "0").stdout.count("gpt2-sms-spam-") == 3
