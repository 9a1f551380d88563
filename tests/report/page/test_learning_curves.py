"""The learning curves on the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from report_examples import make_figures, row_of_size

from clsbench.components.catalog import load_catalog
from clsbench.report.page.files import report_text


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows = [row_of_size(n, a) for n, a in ((16, 0.6), (64, 0.9), (256, 0.98))]
    figures = make_figures(tmp_path_factory.mktemp("store"), rows)
    return report_text(figures, "html", load_catalog(), None)


def test_page_shows_the_curves_in_words_and_as_a_drawing(page: str) -> None:
    section = page.partition('<section id="learning"')[2].partition("</section>")[0]
    assert "TF-IDF + logistic regression is ahead of head-only; beyond, head-only is" in section
    assert section.count("<svg") == 1
    assert "60.00 % (54.4–65.4)" in section
    assert 'href="#learning"' in page
    drawing = section.partition("<svg")[2].partition("</svg>")[0]
    assert "head-only" in drawing
    assert "var(--c0)" in drawing
    colors = set(re.findall(r"#[0-9a-f]{6}\b", drawing))
    assert not colors, "every color follows the theme"


def test_page_ids_of_the_drawing_are_unique(page: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_markdown_has_the_curves_in_words(tmp_path: Path) -> None:
    rows = [row_of_size(n, a) for n, a in ((16, 0.6), (64, 0.98))]
    text = report_text(make_figures(tmp_path, rows), "markdown", load_catalog(), None)
    assert "## Learning curves" in text
    assert "training texts, TF-IDF" in text
