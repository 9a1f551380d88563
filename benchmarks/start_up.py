"""Time the start of commands relative to ``import torch``; see ``--help``."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import rich_click as click
from rich.console import Console
from rich.table import Table

from clsbench.bench.interleaving import FEWEST_PAIRS, Race, RaceRules, race
from clsbench.schema.quantities import duration_text

PYTHON = [sys.executable, "-c", "pass"]
TORCH = [sys.executable, "-c", "import torch"]
CLSBENCH = [sys.executable, "-m", "clsbench"]


class Goal(NamedTuple):
    """A command and its goal, as a multiple of the time of ``reference``."""

    command: tuple[str, ...]
    reference: str
    factor: float


def goals(store: Path) -> dict[str, Goal]:
    """The commands by name; ``store`` holds the runs of the stored suite."""
    suite = (*CLSBENCH, "suite", "gpt2-sms-spam", "--offline", "--out", str(store))
    few = ("--freezing", "head-only", "--set", "train.epochs=1")
    rates = ("--sweep", "train.lr=1e-3,5e-4,1e-4,5e-5")
    dry_run = (*CLSBENCH, "run", "gpt2-sms-spam", "--offline", "--dry-run")
    return {
        "--help": Goal((*CLSBENCH, "--help"), "python", 8),
        "list": Goal((*CLSBENCH, "list"), "python", 12),
        "run --dry-run": Goal(dry_run, "import torch", 1.8),
        "suite of 4 stored rows": Goal((*suite, *few, *rates), "import torch", 2.5),
    }


def run_command(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Run a command without its output; ``environment`` replaces that of this process.

    Raises:
        click.ClickException: it fails; the message includes its errors.
    """
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment)
    if done.returncode != 0:
        raise click.ClickException(f"{' '.join(command)} failed: {done.stderr.strip()}")


def time_commands(commands: Mapping[str, Sequence[str]], rules: RaceRules) -> Race:
    """Time the commands alternately, each in a separate process."""
    return race({name: partial(run_command, command) for name, command in commands.items()}, rules)


def table(found: Race, commands: Mapping[str, Goal]) -> Table:
    """A row for each command: its time, its ratio to the reference, the control and the goal."""
    title = f"{found.quiet_rounds} quiet rounds of {found.rounds}"
    drawn = Table(title=title, title_justify="left")
    for heading in ("command", "time", "times as long as", "95 % interval", "A/A", "goal"):
        drawn.add_column(heading)
    for name, (_, reference, factor) in commands.items():
        against, control = found.compare(reference, name), found.control(name)
        if against.ratio is None or against.slow_seconds is None:
            drawn.add_row(name, "–", f"too few quiet rounds: {against.pairs}", "–", "–", "–")
            continue
        drawn.add_row(
            name,
            duration_text(against.slow_seconds),
            f"{against.ratio:.2f} × {reference}",
            f"{against.low:.2f}–{against.high:.2f}",
            f"{control.ratio:.2f}" if control.ratio is not None else "–",
            f"{factor:g} {'reached' if against.ratio <= factor else 'not reached'}",
        )
    return drawn


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(min=FEWEST_PAIRS), default=15, show_default=True,
              help="Quiet rounds to measure.")  # fmt: skip
@click.option("--budget", type=float, default=600.0, show_default=True,
              help="End after so many seconds.")  # fmt: skip
@click.option("--load-limit", type=float, default=0.15, show_default=True,
              help="Cores that other processes may use during a sample that is kept.")  # fmt: skip
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False),
              help="Also write the samples to this file.")  # fmt: skip
def main(rounds: int, budget: float, load_limit: float, json_file: Path | None) -> None:
    """Time how long commands take to start, beside a bare interpreter and `import torch`.

    The commands run in turn, in alternating order, each in a process of its own, with the embedded
    stand-ins. Each is also compared with itself (A/A). Samples taken while other processes were
    busy are dropped, so run it on a quiet machine. It takes about five minutes.
    """
    with tempfile.TemporaryDirectory() as folder:
        commands = goals(Path(folder))
        run_command(commands["suite of 4 stored rows"].command)
        contenders = {name: goal.command for name, goal in commands.items()}
        rules = RaceRules(rounds, budget, load_limit, sample_seconds=0.0)
        found = time_commands({"python": PYTHON, "import torch": TORCH, **contenders}, rules)
    Console().print(table(found, commands))
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1))


if __name__ == "__main__":
    main()
