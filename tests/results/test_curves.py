from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import msgspec
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from record_examples import STAND_INS, make_history, make_record

from clsbench.results.curves import accuracy_figure, loss_figure, save_curves
from clsbench.schema.record import History, RunRecord

ALL = ["accuracy.pdf", "accuracy.svg", "loss.pdf", "loss.svg"]


def lines(figure: Figure) -> dict[str, tuple[list[float], list[float]]]:
    (axes,) = figure.axes
    return {
        str(line.get_label()): (list(line.get_xdata()), list(line.get_ydata()))  # type: ignore[arg-type]
        for line in axes.get_lines()
    }


def upper_axis(figure: Figure) -> Axes:
    (axes,) = figure.axes
    (above,) = axes.child_axes
    return above


def test_save_curves_writes_valid_svg_and_pdf(tmp_path: Path) -> None:
    written = save_curves(make_record(), tmp_path)
    assert sorted(path.name for path in written) == ALL
    assert sorted(path.name for path in tmp_path.iterdir()) == ALL
    for path in written:
        if path.suffix == ".svg":
            assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
        else:
            assert path.read_bytes().startswith(b"%PDF-")
        assert path.stat().st_size < 100_000


def test_save_curves_ignores_user_settings_and_is_reproducible(tmp_path: Path) -> None:
    record = make_record()
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    save_curves(record, tmp_path / "a")
    script = (
        "import sys, msgspec, pathlib\nfrom clsbench.schema.record import RunRecord\n"
        "from clsbench.results.curves import save_curves\n"
        "record = msgspec.json.decode(sys.stdin.buffer.read(), type=RunRecord)\n"
        "save_curves(record, pathlib.Path(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "b")]
    subprocess.run(command, input=msgspec.json.encode(record), check=True)
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "none", "axes.grid": False}):
        save_curves(record, tmp_path / "c")
    for name in ALL:
        first = (tmp_path / "a" / name).read_bytes()
        assert (tmp_path / "b" / name).read_bytes() == first, name
        assert (tmp_path / "c" / name).read_bytes() == first, name


def test_figures_show_the_history_by_epochs_and_examples() -> None:
    record = make_record()
    assert record.history is not None
    figure = loss_figure(record)
    drawn = lines(figure)
    steps = record.history.steps
    for label, values in (
        ("training", [e.train_loss for e in steps]),
        ("validation", [e.validation_loss for e in steps]),
    ):
        x, y = drawn[label]
        assert y == values
        np.testing.assert_allclose(x, [e.examples_seen / 1040 for e in steps])
    figure.draw_without_rendering()
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    np.testing.assert_allclose(upper_axis(figure).get_xlim(), (low * 1040, high * 1040))
    assert high == pytest.approx(5, rel=0.03)

    drawn = lines(accuracy_figure(record))
    assert drawn["training"][0] == [1, 2, 3, 4, 5]
    assert drawn["validation"][1] == [e.validation_accuracy for e in record.history.epochs]


def test_curves_are_distinguishable_without_colour() -> None:
    (axes,) = loss_figure(make_record()).axes
    train, validation = axes.get_lines()
    assert (train.get_linestyle(), validation.get_linestyle()) == ("-", "-.")
    assert train.get_marker() != validation.get_marker()
    grey = [np.dot(matplotlib.colors.to_rgb(c.get_color()), (0.3, 0.59, 0.11)) for c in axes.lines]
    assert abs(grey[0] - grey[1]) > 0.2
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["training", "validation"]


def test_axes_name_their_units() -> None:
    record = make_record()
    for figure, unit in ((loss_figure(record), "nats"), (accuracy_figure(record), "%")):
        (axes,) = figure.axes
        assert axes.get_xlabel() == "epochs"
        assert f"5 batches ({unit})" in axes.get_ylabel()
        assert upper_axis(figure).get_xlabel() == "training examples seen"


def title(record: RunRecord) -> str:
    return str(loss_figure(record).get_suptitle())


def test_title_names_the_experiment_and_marks_stand_ins() -> None:
    assert title(make_record()) == "gpt2-sms-spam, seed 123, cpu"
    marked = title(make_record(stand_ins=STAND_INS, status="interrupted"))
    assert "STAND-INS (synthetic-sms, gpt2-nano)" in marked
    assert "(interrupted)" in marked


def history(steps: int, epochs: int) -> History:
    whole = make_history()
    return History(steps=whole.steps[:steps], epochs=whole.epochs[:epochs])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (history(0, 0), []),
        (history(1, 0), ["loss.pdf", "loss.svg"]),
        (history(3, 0), ["loss.pdf", "loss.svg"]),
        (history(4, 1), ALL),
        (None, []),
    ],
)
def test_save_curves_of_an_interrupted_run_writes_available_curves(
    tmp_path: Path, given: History | None, expected: list[str]
) -> None:
    record = make_record(status="interrupted", history=given)
    assert sorted(path.name for path in save_curves(record, tmp_path)) == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"experiment": "$x_y$ \\frac{ 漢字 " * 9},
        {"experiment": ""},
        {"spec": {}, "data": None, "history": history(3, 0)},
        {"spec": {"train": {"epochs": 10**6, "batch_size": 8}}},
        {"history": make_history(epochs=200, eval_every=7)},
    ],
)
def test_save_curves_of_unusual_records_does_not_warn(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert save_curves(make_record(**changes), tmp_path)


def test_save_curves_with_extreme_losses_succeeds(tmp_path: Path) -> None:
    steps = [
        msgspec.structs.replace(e, train_loss=value, validation_loss=value)
        for e, value in zip(make_history().steps, [0.0, 1e30, 0.0], strict=False)
    ]
    for chosen in (steps[:1], steps):
        record = make_record(history=History(steps=tuple(chosen)))
        assert len(save_curves(record, tmp_path)) == 2


def test_save_curves_does_not_change_rc_params(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    save_curves(make_record(), tmp_path)
    assert dict(matplotlib.rcParams) == before
