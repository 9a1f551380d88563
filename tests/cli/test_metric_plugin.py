"""The metric plugin of the documentation, from a run to every output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Command, command_in_process
from documented_commands import blocks

from clsbench.cli.main import main

DOCUMENTED = Path(__file__).resolve().parents[2] / "docs" / "plugins" / "metrics.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("metric")
    (path / "missed.py").write_text(blocks(DOCUMENTED, "python")[0], encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def clsbench(environment: dict[str, str], folder: Path) -> Command:
    """The command line in a folder with the plugin; two runs are stored there."""
    command = command_in_process(main, environment, folder)
    settings = ["train.epochs=1", "data.padding=16", "freezing=head-only"]
    small = ["gpt2-sms-spam", "--offline", "--dataset", "synthetic-sms:texts=300"]
    small += [word for each in settings for word in ("--set", each)]
    listed = ["--plugin", "missed.py", "--set", 'metrics=["missed", "mcc"]']
    for arguments in ([*small, "--set", "name=usual"], [*listed, *small, "--pooling", "mean"]):
        done = command("run", *arguments)
        assert done.returncode == 0, done.stderr
        assert ("missed" in done.stdout) == ("--plugin" in arguments)
    return command


def test_results_have_the_metric_also_of_runs_that_did_not_list_it(clsbench: Command) -> None:
    done = clsbench("--plugin", "missed.py", "results", "--metric", "missed", "--json")
    rows = json.loads(done.stdout)
    assert len([row for row in rows if row["test_missed"] is not None]) == 2
    without = json.loads(clsbench("results", "--json").stdout)
    assert [row["test_missed"] is not None for row in without] == [False, True], "as recorded"
    table = clsbench("--plugin", "missed.py", "results", "--metric", "missed").stdout
    assert "missed" in table


def test_compare_has_the_metric(clsbench: Command) -> None:
    runs = [row["run"] for row in json.loads(clsbench("results", "--json").stdout)]
    arguments = ["--plugin", "missed.py", "compare", *runs, "--metric", "missed"]
    done = clsbench(*arguments)
    assert done.returncode == 0, done.stderr
    assert "missed" in done.stdout
    found = json.loads(clsbench(*arguments, "--json").stdout)
    assert (found["metric"]["name"], found["metric"]["better"]) == ("missed", "lower")
    scores = [each["score"] for each in found["contenders"]]
    assert all(0 <= score <= 1 for score in scores)
    assert len(scores) == 5, "the baselines have it, too"


@pytest.mark.parametrize("form", ["csv", "markdown", "latex", "json", "html"])
def test_report_has_the_metric_in_every_format(clsbench: Command, form: str, folder: Path) -> None:
    runs = [row["run"] for row in json.loads(clsbench("results", "--json").stdout)]
    arguments = ["--plugin", "missed.py", "report", *runs, "--metric", "missed"]
    chosen = ["--json"] if form == "json" else ["--format", form]
    done = clsbench(*arguments, *chosen)
    assert done.returncode == 0, done.stderr
    text = (folder / "report.html").read_text() if form == "html" else done.stdout
    assert ("test missed" if form == "html" else "missed") in text
    if form == "csv":
        assert text.splitlines()[0].count("test_missed") == 4, "with deviation and interval"


def test_suite_orders_stored_runs_by_the_metric(clsbench: Command, folder: Path) -> None:
    (folder / "suite.toml").write_text(
        'base = "gpt2-sms-spam"\n[changes]\ndataset = "synthetic-sms:texts=300"\n'
        '"train.epochs" = 1\n"data.padding" = 16\nfreezing = "head-only"\n'
        '[[rows]]\nlabel = "1"\ntitle = "last"\nchanges = {name = "usual"}\n'
        '[[rows]]\nlabel = "2"\ntitle = "mean"\nchanges = {pooling = "mean"}\n'
    )
    done = clsbench(
        "--plugin", "missed.py", "suite", "suite.toml", "--offline", "--metric", "missed"
    )
    assert done.returncode == 0, done.stderr
    assert "missed" in done.stdout
    stored = json.loads(clsbench("results", "--json").stdout)
    assert len(stored) == 2, "no run is repeated for another metric"


def test_unknown_metric_is_refused_with_the_closest_match(clsbench: Command) -> None:
    done = clsbench("results", "--metric", "macro-f2")
    assert done.returncode == 2
    assert "unknown metric 'macro-f2'; did you mean 'macro-f1'?" in done.stderr
