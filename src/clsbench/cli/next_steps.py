"""The last lines of ``run`` and ``suite``: the recommendation and the next commands."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import rich_click as click

from clsbench.cli.output import write_message
from clsbench.cli.session import Session
from clsbench.schema.options import DEFAULT_STORE, RunOptions

if TYPE_CHECKING:
    from clsbench.analysis.comparison import Contender
    from clsbench.results.store import StoredRun


def write_next_steps(
    ctx: click.Context,
    options: RunOptions,
    sentence: str,
    best: Contender | None,
    runs: Sequence[StoredRun],
    reported: Sequence[str],
    details: str = "",
    train: str | None = None,
) -> None:
    """Print the recommendation, the command that predicts with it and the one for a report.

    ``sentence`` is the recommendation, ``details`` its costs. ``best`` is the contender it names,
    ``None`` if the ``runs`` could not be compared. ``reported`` are the arguments of ``clsbench
    report``. ``train`` is the command that trains and stores what is recommended again.
    """
    from clsbench.report.page.commands import predict_words, shell_line, shell_lines
    from clsbench.report.terminal.console import Console

    session = ctx.find_object(Session) or Session()
    plugins = [word for plugin in session.plugins for word in ("--plugin", plugin)]
    store = ["--out", str(options.out)] if options.out != DEFAULT_STORE else []
    console = Console()
    console.print()
    console.prose(sentence, "bold")
    if details:
        console.prose(details)
    if not runs:
        return
    predict = predict_words(best, runs)
    with_baseline = "--baseline" in predict
    assets = [] if with_baseline or options.assets is None else ["--assets", str(options.assets)]
    report = ["report", *reported, *store]
    write_message("Next:")
    for words in ([*predict, *store, *assets], report):
        command = ["clsbench", *plugins, *words]
        line = (
            shell_lines(command, console.width - 2) if console.is_terminal else shell_line(command)
        )
        write_message(textwrap.indent(line, "  "))
    if train is not None:
        write_message("To train and store it again:")
        write_message(textwrap.indent(" ".join([train, shell_line([*store, *assets])]), "  "))
