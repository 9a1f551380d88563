"""The console that prints all terminal output."""

from __future__ import annotations

from collections.abc import Iterable

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from clsbench.system.printable import printable, wrapped


class Console(rich.console.Console):
    """A console whose text cannot control the terminal: its invisible characters are escaped.

    Colors and the cursor movements of live displays come from styles and control segments, not
    from text. Text whose width matters is escaped before, by :func:`clsbench.report.wording.plain`.
    """

    def prose(self, text: str, style: str = "") -> None:
        """Print sentences, wrapped between words if the output is a terminal."""
        text = printable(text, keep="\n")
        if self.is_terminal:
            text = wrapped(text, self.width)
        self.print(Text(text, style), soft_wrap=True, highlight=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render as the base class does, with escapes in the text."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(printable(text, keep="\n"), style)
