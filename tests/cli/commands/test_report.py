"""``clsbench report`` on stored suites and runs."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_line import Command
from report_examples import Row, make_figures

from clsbench.cli.commands.report import report
from clsbench.cli.session import Session


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    make_figures(folder, [Row(title="good", accuracy=0.95), Row(title="bad", accuracy=0.6)])
    return folder


def test_report_of_latest_writes_a_page_of_the_last_suite(
    in_process: Command, store: Path, tmp_path: Path
) -> None:
    done = in_process("report", "--out", store)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "Use row 1 (good): 95.00 %; it is significantly better than every other row and than "
        "TF-IDF + logistic regression (90.00 % in 0.4 s).",
        "report  report.html",
    ]
    page = (tmp_path / "cwd" / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "clsbench suite a-suite" in page
    assert "The corpus was not available" in page


def test_report_format_follows_the_extension_or_the_option(
    in_process: Command, store: Path, tmp_path: Path
) -> None:
    to_stdout = in_process("report", "a-suite", "--out", store, "--format", "csv")
    assert [row["title"] for row in csv.DictReader(io.StringIO(to_stdout.stdout))][:2] == (
        ["good", "bad"]
    )
    plain = json.loads(in_process("report", "a-suite", "--out", store, "--json").stdout)
    assert [row["title"] for row in plain["table"]][:2] == ["good", "bad"]
    assert plain["comparison"]["pairs"]
    file = tmp_path / "table.tex"
    assert in_process("report", "-o", file, "--out", store).returncode == 0
    assert file.read_text(encoding="utf-8").startswith("% needs")


@pytest.mark.slow
def test_report_of_chosen_runs_contains_only_these(
    in_process: Command, store: Path, tmp_path: Path
) -> None:
    runs = sorted(path for path in store.iterdir() if path.name.startswith("2025"))
    done = in_process("report", *runs, "-o", tmp_path / "runs.html", "--out", store)
    assert done.returncode == 0, done.stderr
    assert ": 95.00 %; it is significantly better" in done.stdout
    page = (tmp_path / "runs.html").read_text(encoding="utf-8")
    assert "clsbench run gpt2-sms-spam" in page
    assert "All rows, as they were run" not in page


@pytest.mark.slow
def test_report_with_damaged_runs_names_and_omits_them(
    in_process: Command, store: Path, tmp_path: Path
) -> None:
    shutil.rmtree(store / "suites")
    first, second = sorted(path for path in store.iterdir())
    shutil.copytree(first, store / "20251122T101701Z-copy-1")
    (store / "20251122T101701Z-copy-1" / "record.json").write_text("{")
    (second / "predictions.csv").write_text("nonsense\n")
    done = in_process("report", "--out", store)
    assert done.returncode == 0, done.stderr
    assert f"left out {store / '20251122T101701Z-copy-1'}" in done.stderr
    assert f"left out {second}" in done.stderr
    assert "Use row 1 (gpt2-sms-spam): 95.00 %" in done.stdout


def test_report_with_damaged_predictions_names_them(
    store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = sorted(store.glob("2025*"))[1] / "predictions.csv"
    file.write_text("nonsense\n")
    page = tmp_path / "page.html"
    done = CliRunner().invoke(report, ["--out", str(store), "-o", str(page)], obj=Session())
    assert done.exit_code == 0
    assert f"row 2 is not compared: {file} is damaged" in caplog.text


def test_report_with_invalid_arguments_is_refused(
    in_process: Command, store: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    for arguments, expected in (
        (["--out", empty], "nothing to report"),
        (["nowhere", "--out", store], "its suites: a-suite"),
        (["--out", store, "-o", "x.pdf"], "unknown extension '.pdf'"),
        (["--out", store, "-o", tmp_path / "no" / "x.html"], "does not exist"),
        (["--out", store, "-o", tmp_path], "is a directory"),
    ):
        done = in_process("report", *arguments)
        assert done.returncode == 2, done.stderr
        assert expected in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_report_of_real_runs_shows_their_texts(
    in_process: Command, spec_file: Path, tmp_path: Path
) -> None:
    store = tmp_path / "runs"
    for freezing in ("all", "head-only"):
        changes = ["--freezing", freezing, "--set", "train.epochs=1"]
        ran = in_process("--quiet", "run", spec_file, "--out", store, *changes)
        assert ran.returncode == 0, ran.stderr
    done = in_process("report", "--out", store)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "cwd" / "report.html").read_text(encoding="utf-8")
    assert "number" in page, "the texts themselves are shown"
    assert "cat &gt; experiment.toml" in page or "cat > experiment.toml" in page
    assert "head-only" in page
