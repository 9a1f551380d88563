from __future__ import annotations

import re

import matplotlib
import numpy as np
import pytest
from msgspec.structs import replace
from record_examples import make_history, make_record

from clsbench.analysis.calibration import calibration
from clsbench.report.page.curves import (
    HEIGHT,
    WIDTH,
    Panels,
    accuracy_panels,
    loss_panels,
    reliability_panels,
)
from clsbench.schema.record import BeforeTraining, History, RunRecord


def record_of(history: History | None) -> RunRecord:
    return make_record(history=history)


def paths(drawing: str) -> list[list[tuple[float, float]]]:
    """The points of the lines of a drawing, without its markers."""
    lines = re.findall(r'<path d="([^"]+)"', re.sub(r"<defs>.*?</defs>", "", drawing))
    return [
        [(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", line)] for line in lines
    ]


def ids(panels: Panels) -> list[str]:
    drawings = [panels.axes, *(panel.drawing for panel in panels.panels)]
    return re.findall(r' id="([^"]+)"', "".join(drawings))


def test_loss_panels_draw_each_row_on_the_same_axes() -> None:
    high = make_history()
    low = replace(
        high,
        steps=tuple(
            replace(e, train_loss=e.train_loss / 2, validation_loss=e.validation_loss / 2)
            for e in high.steps
        ),
    )
    panels = loss_panels([("high", record_of(high)), ("low", record_of(low))])
    assert panels is not None
    first, second = panels.panels
    assert first.words.startswith("high: training loss from ")
    assert panels.axes.count("<text") == 6 + 3
    train, validation = paths(first.drawing)
    assert len(train) == len(validation) == len(high.steps)
    assert train[0][0] == pytest.approx(34, abs=0.5)
    bottom = 110
    for (x, y), (x_low, y_low) in zip(train, paths(second.drawing)[0], strict=True):
        assert 34 <= x == x_low <= WIDTH
        assert 0 <= y <= HEIGHT
        assert bottom - y == pytest.approx(2 * (bottom - y_low), abs=0.4)


def test_panels_have_unique_ids_and_the_colors_of_the_page() -> None:
    rows = [("one", make_record()), ("two", make_record())]
    sure = [("one", calibration(np.array([0, 1]), np.array([[0.6, 0.4], [0.1, 0.9]])))]
    drawn = (loss_panels(rows), accuracy_panels(rows), reliability_panels(sure, 2))
    found = [panels for panels in drawn if panels is not None]
    assert len(found) == 3
    every = [name for panels in found for name in ids(panels)]
    assert len(every) == len(set(every)) > 0
    for panels in found:
        html = panels.axes + "".join(panel.drawing for panel in panels.panels)
        assert set(re.findall(r'href="#([^"]+)"', html)) <= set(every)
        assert not re.search(r"#[0-9a-f]{6}\b(?!\w)", re.sub(r'href="[^"]+"', "", html))
        assert "var(--train)" in html
        assert "url(" not in html


def test_panels_are_the_same_whatever_the_users_settings() -> None:
    rows = [("a", make_record())]
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.grid": False}):
        changed = loss_panels(rows)
    assert changed == loss_panels(rows)


def test_accuracy_panels_begin_before_training() -> None:
    history = make_history()
    before = BeforeTraining(accuracy={"train": 0.4, "validation": 0.5}, loss={})
    panels = accuracy_panels([("row", record_of(replace(history, before=before)))])
    assert panels is not None
    (panel,) = panels.panels
    assert panel.words.startswith("row: training accuracy from 40.0% to ")
    train, validation = paths(panel.drawing)
    assert len(train) == len(validation) == len(history.epochs) + 1
    assert train[0][0] == 34
    assert train[0][1] > validation[0][1]


def test_loss_panels_of_a_long_run_are_thinned_out() -> None:
    history = make_history(epochs=200, eval_every=7)
    assert len(history.steps) > 1000
    panels = loss_panels([("long", record_of(history))])
    assert panels is not None
    assert len(panels.panels[0].drawing) < 10_000


def test_panels_without_anything_to_draw_are_none() -> None:
    rows = [("empty", record_of(History())), ("none", record_of(None))]
    assert loss_panels(rows) is None
    assert accuracy_panels(rows) is None
    assert reliability_panels([], 2) is None


def test_reliability_panels_draw_a_point_for_each_bin() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 500)
    sure = generator.random(500)
    found = calibration(labels, np.stack([sure, 1 - sure], 1))
    panels = reliability_panels([("<row>", found)], 2)
    assert panels is not None
    (panel,) = panels.panels
    assert panel.words.count(" texts: confidence ") == len(found.bins) > 3
    line = max(paths(panel.drawing), key=len)
    assert len(line) == len(found.bins)
    assert line[0][0] == pytest.approx(34 + 166 * (found.bins[0].confidence - 0.5) / 0.5, abs=0.2)
    assert "<row>" not in panel.drawing
