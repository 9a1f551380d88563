"""``benchmarks.watch history``: list all runs of the benchmarks, by commit and machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from clsbench.cli.json_command import JsonCommand, write_result
from clsbench.cli.options import PlotType
from clsbench.errors import UsageError
from clsbench.schema.quantities import duration_text

if TYPE_CHECKING:
    from benchmarks.watch.history import BenchmarkRun, History

logger = logging.getLogger(__name__)

DEFAULT_FOLDER = Path("benchmarks", ".history")
DEFAULT_BASELINE = Path("benchmarks", "baseline")
_SHORT = 8
_LABEL, _TIME, _CHANGE = 28, 12, 14
"""Widths in characters: a benchmark's name, a run's time, and the change."""

F = TypeVar("F", bound=Callable[..., Any])


def folder_option(function: F) -> F:
    """The folder of the stored runs."""
    return click.option(
        "--from",
        "folder",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEFAULT_FOLDER,
        show_default=True,
        help="The storage that pytest benchmarks/ writes to.",
    )(function)


def history_in(folder: Path) -> History:
    """The runs in ``folder``; warns of files that cannot be read.

    Raises:
        UsageError: there are no runs.
    """
    from benchmarks.watch.history import read_history

    history = read_history(folder)
    for problem in history.problems:
        logger.warning("%s; it is left out", problem.text)
    if not history.runs:
        raise UsageError(
            f"no benchmark runs in {folder}; pytest benchmarks/ makes one, and "
            "--from names another folder"
        )
    return history


@click.command("history", cls=JsonCommand)
@folder_option
@click.option(
    "--only",
    metavar="TEXT",
    default="",
    help="Only benchmarks whose name or group holds this.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option(
    "--plot",
    "plot_file",
    type=PlotType(),
    help="Draw the medians over the runs (.svg, .pdf or .png).",
)
@click.pass_context
def history(
    ctx: click.Context, folder: Path, only: str, as_json: bool, plot_file: Path | None
) -> None:
    """How long every benchmark took in every run: by commit, like machines together.

    Each run of pytest benchmarks/ is kept. A time is the median of the rounds in which other
    processes left the machine alone; – stands for too few of them. Under a machine the times of its
    latest runs, the oldest first, and the last against the first.

    \b
    python -m benchmarks.watch history
    python -m benchmarks.watch history --only "train step" --plot steps.svg
    """
    history = history_in(folder)
    machines = {run.machine: [r for r in history.runs if r.machine == run.machine]
                for run in history.runs}  # fmt: skip
    names = list(dict.fromkeys(
        name for run in history.runs for name, result in run.results.items()
        if only in name or only in result.group
    ))  # fmt: skip
    if not names:
        raise UsageError(f"no benchmark has {only!r} in its name or group")
    if as_json:
        write_result(ctx, {"runs": [_plain(run, names) for run in history.runs]})
    else:
        for number, (machine, runs) in enumerate(machines.items(), 1):
            _print_machine(f"machine {number}", machine, runs, names)
    if plot_file is not None:
        from benchmarks.watch.plot import save_history

        try:
            save_history(list(machines.values()), names, plot_file)
        except OSError as error:
            raise UsageError(f"{plot_file} cannot be written: {error.strerror}") from None


def _plain(run: BenchmarkRun, names: Sequence[str]) -> dict[str, Any]:
    import msgspec

    return {
        "file": str(run.file),
        "date": run.date,
        "commit": run.commit,
        "machine": msgspec.json.decode(run.machine),
        "seconds": {name: run.results[name].seconds for name in names if name in run.results},
    }


def _print_machine(
    title: str, machine: str, runs: Sequence[BenchmarkRun], names: Sequence[str]
) -> None:
    import msgspec
    from rich.text import Text

    from clsbench.report.terminal.console import Console
    from clsbench.report.terminal.layout import Row, fitting_table

    console = Console()
    facts = msgspec.json.decode(machine)
    known = ", ".join(f"{key} {value}" for key, value in facts.items() if value not in (None, []))
    count = f"{len(runs)} run" if len(runs) == 1 else f"{len(runs)} runs"
    console.prose(f"{title}, {count}: {known}", "bold")
    labels = [name.partition("::")[2] or name for name in names]
    longest = min(max(map(len, labels)), _LABEL)
    shown = runs[-max(2, (console.width - longest - _CHANGE) // _TIME) :]
    rows = []
    for name, label in zip(names, labels, strict=True):
        times = [run.results[name].seconds if name in run.results else None for run in runs]
        if all(time is None for time in times):
            continue
        cells = [duration_text(t) if t else "–" for t in times[-len(shown) :]]
        measured = [t for t in times if t]
        change = f"{measured[-1] / measured[0] - 1:+.1%}" if len(measured) > 1 else "–"
        rows.append(Row(Text(label), (*cells, change)))
    headers = [f"{run.date[5:16].replace('T', ' ')} {run.commit[:_SHORT]}" for run in shown]
    console.print(fitting_table("benchmark", (*headers, "last to first"), [rows], console.width))
