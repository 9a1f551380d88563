"""The title of a plot, which names stand-ins, and its file."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from clsbench.results.curves import SETTINGS, save_figure
from clsbench.system.printable import printable


def titled(figure: Figure, title: str, stand_ins: Iterable[str]) -> Figure:
    """The figure with this title, and a second line if ``stand_ins`` were used."""
    if names := dict.fromkeys(by.partition(":")[0] for by in stand_ins):
        title += f"\nSTAND-INS ({', '.join(names)}): not the real experiment"
    figure.suptitle(printable(title, keep="\n"), fontsize=10, parse_math=False)
    return figure


def save_drawn(draw: Callable[[], Figure], file: Path) -> None:
    """Draw a figure in the style of all plots, and write it.

    Raises:
        OSError: the file cannot be written.
    """
    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():  # type: ignore[arg-type]
        # Characters that the font does not contain are drawn as boxes, without a warning.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        save_figure(draw(), file)
