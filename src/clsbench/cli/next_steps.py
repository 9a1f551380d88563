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
) -> None:
    """Print the recommendation, the command that predicts with it and the one for a report.

    ``sentence`` is the recommendation. ``best`` is the contender it names, ``None`` if the ``runs``
    could not be compared. ``reported`` are the arguments of ``clsbench report``.
    """
    from clsbench.analysis.sides import BASELINE
    from clsbench.report.page.commands import shell_line, shell_lines
    from clsbench.report.terminal.console import Console
    from clsbench.results.baseline_states import stored_baselines

    session = ctx.find_object(Session) or Session()
    plugins = [word for plugin in session.plugins for word in ("--plugin", plugin)]
    store = ["--out", str(options.out)] if options.out != DEFAULT_STORE else []
    console = Console()
    console.print()
    console.prose(sentence, "bold")
    if not runs:
        return
    run = runs[0]
    if best is not None:
        run = next((each for each in runs if each.path.name in best.runs), run)
    with_baseline: list[str] = []
    if best is not None and not best.runs:
        component = best.name.removeprefix(BASELINE)
        holding = [each for each in runs if component in stored_baselines(each)]
        if holding:
            run = holding[0]
            with_baseline = ["--baseline", _shortest(component, stored_baselines(run))]
    assets = [] if with_baseline or options.assets is None else ["--assets", str(options.assets)]
    pairs = run.record.data is not None and run.record.data.text_pairs
    texts = ["a text", "--pair", "its second text"] if pairs else ["a text"]
    predict = ["predict", run.path.name, *with_baseline, *texts, *store, *assets]
    report = ["report", *reported, *store]
    write_message("Next:")
    for words in (predict, report):
        command = ["clsbench", *plugins, *words]
        line = (
            shell_lines(command, console.width - 2) if console.is_terminal else shell_line(command)
        )
        write_message(textwrap.indent(line, "  "))


def _shortest(component: str, others: Sequence[str]) -> str:
    """The name; with options if another baseline of the run has the same name."""
    name = component.partition(":")[0]
    same = [other for other in others if other.partition(":")[0] == name]
    return name if len(same) == 1 else component
