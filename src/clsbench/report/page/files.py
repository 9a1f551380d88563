"""The report as HTML, Markdown, CSV, LaTeX or JSON, and writing it to a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from clsbench.analysis.suite_figures import SuiteFigures
from clsbench.analysis.suite_table import brief_table, plain_figures, suite_table
from clsbench.report.learning_curves import curves_in_words, curves_note
from clsbench.report.page.answer import answer
from clsbench.report.page.content import build_page, figure_notes, stand_ins
from clsbench.report.page.html import render
from clsbench.report.ranks import ranks_note, ranks_table
from clsbench.results.formats import markdown_text, to_csv, to_latex, to_markdown
from clsbench.schema.decoding import json_text

if TYPE_CHECKING:
    import pandas as pd

    from clsbench.components.catalog import Catalog
    from clsbench.components.values import Text

Format = Literal["html", "markdown", "csv", "latex", "json"]
ENDINGS: Mapping[str, Format] = {
    ".html": "html",
    ".htm": "html",
    ".md": "markdown",
    ".markdown": "markdown",
    ".csv": "csv",
    ".tex": "latex",
    ".json": "json",
}
"""The format by the extension of the file."""


def report_text(
    figures: SuiteFigures,
    form: Format,
    catalog: Catalog,
    texts: Mapping[int, Text] | None,
    guard_formulas: bool = False,
) -> str:
    """The report as text; CSV has all columns in full precision, Markdown and LaTeX are brief.

    For methods on several data sets, LaTeX has one row per method and one column per data set.
    """
    if form == "html":
        return render(build_page(figures, catalog, texts))
    if form == "json":
        return json_text(plain_figures(figures))
    if form == "csv":
        return to_csv(suite_table(figures), guard_formulas)
    if form == "latex" and figures.ranks is not None:
        return to_latex(ranks_table(figures.ranks))
    shown = brief_table(figures)
    return to_latex(shown) if form == "latex" else _markdown(figures, shown)


def _markdown(figures: SuiteFigures, table: pd.DataFrame) -> str:
    reply = answer(figures)
    parts = [f"# {markdown_text(figures.results.name)}", f"*{markdown_text(reply.question)}*"]
    if replaced := stand_ins(figures):
        listed = "; ".join(map(markdown_text, replaced))
        parts.append(f"**STAND-INS were used: this is not the real experiment** ({listed}).")
    parts += [f"**{markdown_text(reply.headline)}**", *map(markdown_text, reply.sentences)]
    if figures.ranks is not None:
        ranks = to_markdown(ranks_table(figures.ranks)).rstrip("\n")
        parts += ["## Ranks over data sets", ranks, markdown_text(ranks_note(figures.ranks))]
        parts.append("## All rows")
    parts.append(to_markdown(table).rstrip("\n"))
    if figures.curves is not None:
        words = (*curves_in_words(figures.curves), curves_note(figures.curves))
        parts += ["## Learning curves", *map(markdown_text, words)]
    notes = figure_notes(figures)
    parts.append("\n".join(f"* {markdown_text(note)}" for note in notes))
    return "\n\n".join(filter(None, parts)) + "\n"
