"""The content of the page as values, and the other formats."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import msgspec
import pytest
from record_examples import STAND_INS, make_history, make_record
from report_examples import TEXTS, Row, make_figures

from clsbench.analysis.suite_figures import SuiteFigures
from clsbench.components.catalog import Catalog, load_catalog
from clsbench.report.page.content import build_page
from clsbench.report.page.details import data_facts
from clsbench.report.page.files import report_text
from clsbench.schema.record import ModelSelection


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog()


@pytest.fixture
def figures(tmp_path: Path) -> SuiteFigures:
    rows = [
        Row(title="plain | row", accuracy=0.95, published=0.93),
        Row(title="changed", accuracy=0.7, published=0.9, modified=True, seconds=90.0),
    ]
    return make_figures(tmp_path, rows)


def test_build_page_agrees_with_the_runs(figures: SuiteFigures, catalog: Catalog) -> None:
    page = build_page(figures, catalog, {0: "the first"})
    assert page.class_names == ("ham", "spam")
    assert [each.title for each in page.confusions] == (
        ["1 plain | row", "2 changed", "the most frequent class", "TF-IDF + logistic regression"]
    )
    assert sum(map(sum, page.confusions[0].counts)) == TEXTS
    assert page.phases is not None
    assert page.phases.bars[1].slices[-1].start + page.phases.bars[1].slices[-1].length == (
        pytest.approx(100, abs=0.1)
    )
    assert page.wrong is not None
    assert page.wrong.total == len(page.wrong.shown) > 80
    assert page.wrong.never + page.wrong.total == TEXTS
    wrong = [each.wrong for each in page.wrong.shown]
    assert wrong == sorted(wrong, reverse=True)
    assert page.losses is not None
    assert len(page.losses.panels) == 2
    assert page.reliabilities is not None
    assert page.reliabilities.panels[0].title == "1 plain | row (ECE 0.150, Brier 0.140)"
    assert page.verdicts is not None
    assert page.verdicts.marks[0][0] == ("", "")
    assert {mark for line in page.verdicts.marks for mark, _ in line} == {"", "+", "−"}
    for i, line in enumerate(page.verdicts.marks):
        for j, (mark, _) in enumerate(line):
            opposite = {"+": "−", "−": "+"}.get(mark, mark)
            assert page.verdicts.marks[j][i][0] == opposite


def test_build_page_parts_of_one_seed_name_it(tmp_path: Path, catalog: Catalog) -> None:
    rows = [Row(title="thrice", seeds=(7, 8, 9)), Row(title="once", seeds=(7,), accuracy=0.8)]
    page = build_page(make_figures(tmp_path, rows), catalog, None)
    titles = ["1 thrice, seed 7", "2 once"]
    assert [each.title for each in page.confusions][:2] == titles
    assert page.phases is not None
    assert [bar.title for bar in page.phases.bars] == titles
    assert any("those of its first seed" in note for note in page.notes)


def test_build_page_names_the_selected_epoch(tmp_path: Path, catalog: Catalog) -> None:
    selection = ModelSelection(
        metric="accuracy", scores=(0.9, 0.95), best_epoch=2, used_epoch=2, stopped_early=True
    )
    selected = {"history": msgspec.structs.replace(make_history(), selection=selection)}
    rows = [Row(record=selected), Row(accuracy=0.5, record=selected, seeds=(7, 8)), Row()]
    notes = build_page(make_figures(tmp_path, rows), catalog, None).notes
    said = "epoch 2 of 2 is used, the best on validation (accuracy 0.9500); stopped early by "
    assert [note for note in notes if "is used" in note] == [
        f"Row {row}: {said}train.patience." for row in ("1", "2, seed 7", "2, seed 8")
    ]


def test_build_page_table_has_texts_and_marks(figures: SuiteFigures, catalog: Catalog) -> None:
    table = build_page(figures, catalog, None).table
    names = [heading.text for heading in table.headings]
    plain, changed, majority, _ = (dict(zip(names, row.cells, strict=True)) for row in table.rows)
    assert plain["test accuracy"].text == "95.00 %"
    assert plain["against published"].text == "+2.00 pp"
    assert changed["against published"].text == "–"
    assert changed["against row 1"].text == "−25.00 pp †"
    assert changed["against row 1"].kind == "worse"
    assert changed["training time"].text == "90 s"
    assert plain["rank"].text == "1"
    assert majority["trained parameters"].value is None
    assert [row.tied for row in table.rows] == [True, False, False, False]
    assert "modified" in table.rows[1].marks


def test_report_with_stand_ins_names_them(tmp_path: Path, catalog: Catalog) -> None:
    row = Row(record={"stand_ins": STAND_INS}, modified=True)
    figures = make_figures(tmp_path, [row, Row(accuracy=0.5)])
    page = build_page(figures, catalog, None)
    assert page.stand_ins[0] == "synthetic-sms:texts=1494 in place of sms-spam"
    assert page.table.rows[0].marks == ("stand-ins",)
    assert "STAND-INS were used" in report_text(figures, "markdown", catalog, None)


def test_csv_has_all_values_in_full_precision(figures: SuiteFigures, catalog: Catalog) -> None:
    text = report_text(figures, "csv", catalog, None)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["title"] for row in rows[:2]] == ["plain | row", "changed"]
    assert float(rows[0]["test_accuracy"]) == 0.95
    assert float(rows[1]["against_best"]) == pytest.approx(-0.25)
    assert rows[1]["against_best_verdict"] == "worse"
    assert float(rows[0]["difference_from_published"]) == pytest.approx(0.02)
    assert rows[1]["difference_from_published"] == ""
    assert float(rows[3]["prefix_and_training_seconds"]) == pytest.approx(0.4)


def test_markdown_and_latex_escape_special_characters(
    figures: SuiteFigures, catalog: Catalog
) -> None:
    markdown = report_text(figures, "markdown", catalog, None)
    assert markdown.startswith("# a-suite\n")
    assert "| plain \\| row " in markdown
    assert "**Use row 1 (plain \\| row): 95.00 %; it is significantly better" in markdown
    latex = report_text(figures, "latex", catalog, None)
    assert "\\toprule" in latex
    assert "test\\_accuracy" in latex


def test_page_shows_what_balancing_dropped() -> None:
    record = make_record()
    assert record.data is not None
    balanced = msgspec.structs.replace(
        record, data=msgspec.structs.replace(record.data, dropped={"ham": 4078})
    )
    (text,) = next(fact.values for fact in data_facts(balanced) if fact.name == "left out")
    assert text.startswith("4,078 texts (ham 4,078): data.balance=true cuts every class")
    assert "left out" not in [fact.name for fact in data_facts(record)]
