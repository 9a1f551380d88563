"""Texts, labels and names with invisible characters are escaped by every command."""

from __future__ import annotations

import csv
import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from command_line import Command
from report_examples import TEXTS, Row, make_figures
from terminal import Shown, on_a_terminal

from clsbench.analysis.suite_figures import SuiteFigures
from clsbench.cli.diagnostics import diagnostics_handler
from clsbench.cli.errors import report_error
from clsbench.components.catalog import load_catalog
from clsbench.report.page.files import Format, report_text
from clsbench.report.terminal.comparison import print_comparison
from clsbench.report.terminal.console import Console
from clsbench.system.printable import printable

HOSTILE = "\x1b]0;title\x07\x1b[31m\u202e\u200b\x9b\x7f"
"""Sets a terminal's title and color, reverses text, and holds invisible characters."""
SHOWN = printable(HOSTILE)
FORMULA = "=1+1"

SPEC = """
dataset = {{name = "csv", path = {path}, text = {text}, label = {label}}}
backbone = "gpt2-nano"
freezing = "head-only"

[train]
epochs = 1
eval_every = 4
"""


def assert_printable(shown: Shown, code: int = 0) -> str:
    """Assert that the terminal's text holds only printable characters; return it."""
    assert shown.code == code, shown.text
    assert printable(shown.text, keep="\n\t\r") == shown.text
    return shown.text


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> SuiteFigures:
    """A suite whose titles, classes and descriptions are hostile."""
    return make_figures(
        tmp_path_factory.mktemp("store"),
        [
            Row(title=f"one {HOSTILE}", accuracy=0.9),
            Row(title=f"two {HOSTILE}", accuracy=0.8),
            Row(title=FORMULA, accuracy=0.7, record={"experiment": FORMULA + HOSTILE}),
        ],
        class_names=(f"ham{HOSTILE}", FORMULA),
        description=HOSTILE,
        source=HOSTILE,
    )


def store_of(figures: SuiteFigures) -> Path:
    return figures.rows[0].runs[0].path.parent


@pytest.mark.parametrize("arguments", [["report", "--format", "csv"], ["results"]])
def test_terminal_hostile_names_are_escaped(
    environment: dict[str, str], figures: SuiteFigures, arguments: list[str]
) -> None:
    shown = on_a_terminal(120, *arguments, "--out", store_of(figures), env=environment)
    assert r"\x1b]0;" in assert_printable(shown)


def test_print_comparison_hostile_classes_and_texts_are_escaped(figures: SuiteFigures) -> None:
    assert figures.comparison is not None
    file = io.StringIO()
    texts = dict.fromkeys(range(TEXTS), f"{HOSTILE}!")
    print_comparison(Console(file=file, width=80), figures.comparison, figures.metrics, texts, 3)
    assert f"ham{SHOWN}" in file.getvalue()
    assert f"{SHOWN}!" in file.getvalue()
    assert printable(file.getvalue(), keep="\n") == file.getvalue()


def test_report_error_message_and_hint_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    report_error(f"no file {HOSTILE}\nsecond line", hint=HOSTILE)
    assert capsys.readouterr().err == f"error: no file {SHOWN}\nsecond line\n{SHOWN}\n"


def test_diagnostics_warning_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    handler = diagnostics_handler(verbose=False)
    handler.handle(logging.makeLogRecord({"msg": f"skipped {HOSTILE}", "levelno": logging.WARNING,
                                          "levelname": "WARNING"}))  # fmt: skip
    assert capsys.readouterr().err == f"warning: skipped {SHOWN}\n"


@pytest.mark.parametrize("form", ["html", "markdown", "latex"])
def test_report_text_hostile_names_are_escaped(figures: SuiteFigures, form: Format) -> None:
    text = report_text(figures, form, load_catalog(), None)
    assert printable(text, keep="\n") == text


def test_report_csv_is_unchanged_unless_formulas_are_guarded(figures: SuiteFigures) -> None:
    plain = read_csv(report_text(figures, "csv", load_catalog(), None))
    titles = [row["title"] for row in plain]
    assert titles[:3] == [f"one {HOSTILE}", f"two {HOSTILE}", FORMULA]
    guarded = read_csv(report_text(figures, "csv", load_catalog(), None, guard_formulas=True))
    assert [row["title"] for row in guarded] == [*titles[:2], f"'{FORMULA}", *titles[3:]]
    assert [row["against_first"] for row in guarded] == [row["against_first"] for row in plain]
    assert float(guarded[2]["against_first"]) < 0


def test_results_guard_formulas_applies_to_csv_only(
    clsbench: Command, figures: SuiteFigures
) -> None:
    words = ("results", "--out", store_of(figures), "--guard-formulas")
    found = [row["experiment"] for row in read_csv(clsbench(*words, "--format", "csv").stdout)]
    assert found[2] == f"'{FORMULA}{HOSTILE}"
    refused = clsbench(*words)
    assert refused.returncode == 2
    assert "--guard-formulas applies to CSV" in refused.stderr


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spec file with a hostile name, of a corpus with hostile columns, texts and labels."""
    folder = tmp_path_factory.mktemp("corpus")
    labels = [f"ham{HOSTILE}", f"spam{HOSTILE}"]
    columns = [f"text{HOSTILE}", f"label{HOSTILE}"]
    file = folder / f"data{HOSTILE}.csv"
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(columns)
        for n in range(60):
            writer.writerow([f"{HOSTILE} {('see you', 'win a prize')[n % 2]} {n}", labels[n % 2]])
    spec = folder / f"mine{HOSTILE}.toml"
    names = {"path": str(file), "text": columns[0], "label": columns[1]}
    text = SPEC.format(**{key: json.dumps(value) for key, value in names.items()})
    spec.write_text(text.replace("\x7f", r"\u007f"), encoding="utf-8")
    return spec


@pytest.mark.slow
def test_terminal_hostile_corpus_is_escaped_by_every_command(
    environment: dict[str, str], corpus: Path, tmp_path: Path
) -> None:
    def shown(*arguments: object, text_in: str = "", code: int = 0) -> str:
        words = [*arguments, "--out", tmp_path / "runs"]
        done = on_a_terminal(100, *words, env=environment, text_in=text_in)
        return assert_printable(done, code)

    spec: Any = corpus
    assert SHOWN in shown("run", spec, "--dry-run").replace("\n", "")
    assert SHOWN in shown("run", spec, "--set", "train.batch_size=4").replace("\n", "")
    shown("suite", spec, "--sweep", "train.batch_size=4,8", "--dry-run")
    shown("--plugin", "in_process_executor", "suite", spec, "--sweep", "train.batch_size=4,8",
          "--executor", "in-process")  # fmt: skip
    shown("compare", "latest", "--texts", "3")
    shown("report", "--format", "markdown")
    shown("report", "-o", tmp_path / f"page{HOSTILE.replace('/', '')}.html")
    assert SHOWN[:6] in shown("predict", "latest", HOSTILE)
    shown("predict", "latest", text_in=f"{HOSTILE}\nplain\n")
    assert SHOWN[:6] in shown("predict", "latest", HOSTILE, "--format", "csv")
    shown("predict", "latest", HOSTILE, "--format", "jsonl")
    shown("predict", "latest", "--csv", tmp_path / f"none{HOSTILE}.csv", code=2)
    environment_only = on_a_terminal(100, "show", spec, env=environment)
    assert_printable(environment_only)
