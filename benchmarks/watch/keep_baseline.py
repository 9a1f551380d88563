"""``benchmarks.watch baseline``: store runs with which later ones are compared."""

from __future__ import annotations

from pathlib import Path

import rich_click as click
from benchmarks.watch.show_history import DEFAULT_BASELINE, folder_option, history_in

from clsbench.cli.json_command import JsonCommand, write_result
from clsbench.cli.options import json_option
from clsbench.cli.output import write_message
from clsbench.errors import UsageError


@click.command("baseline", cls=JsonCommand)
@folder_option
@click.option(
    "--runs",
    type=click.IntRange(min=5),
    default=10,
    show_default=True,
    help="The most runs to keep, the latest of the latest run's commit and kind of machine.",
)
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_BASELINE,
    show_default=True,
    help="Write them there, in place of the former baseline for this kind of machine.",
)
@json_option
@click.pass_context
def baseline(ctx: click.Context, folder: Path, runs: int, target: Path, as_json: bool) -> None:
    """Make the latest runs the baseline that the command check goes by; commit the folder.

    The runs are of one commit, at least five: run pytest benchmarks/ so many times, best at
    different hours. Only the medians are kept, with machine and commit.

    \b
    for run in 1 2 3 4 5 6 7 8; do pytest benchmarks/; done
    python -m benchmarks.watch baseline
    git add benchmarks/baseline
    """
    from benchmarks.watch.baseline import runs_for_baseline, save_baseline

    kept = runs_for_baseline(history_in(folder), runs)
    try:
        place = save_baseline(kept, target)
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}") from None
    if as_json:
        write_result(
            ctx,
            {
                "commit": kept[-1].commit,
                "runs": len(kept),
                "first": kept[0].date,
                "last": kept[-1].date,
                "path": str(place),
            },
        )
        return
    write_message(
        f"{len(kept)} runs of {kept[-1].commit}, {kept[0].date[:16]} to {kept[-1].date[:16]}, "
        f"are the baseline now: {place}"
    )
