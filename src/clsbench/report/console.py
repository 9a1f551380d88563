"""The console that everything for people is printed to."""

from __future__ import annotations

from collections.abc import Iterable

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from clsbench.printable import printable


class Console(rich.console.Console):
    """A console whose text cannot control the terminal: its invisible characters are escaped.

    Colors and the cursor movements of live displays come from styles and control segments, not
    from text. Text whose width matters is escaped before, by :func:`clsbench.report.wording.plain`.
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render as the base class does, with escapes in the text."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(printable(text, keep="\n"), style)
