"""The benchmark of start-up: commands in subprocesses, and ratios to a reference."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import pytest
from command_line import clean_environment, command_in_process
from rich.console import Console

from clsbench.bench.interleaving import FEWEST_PAIRS, RaceRules
from clsbench.cli.main import main
from start_up import CLSBENCH, Goal, goals, run_command, table, time_commands

EVERY_ROUND = RaceRules(FEWEST_PAIRS, 60.0, load_limit_cores=1000.0, sample_seconds=0.0)


@pytest.mark.slow
def test_table_shows_ratios_and_whether_goals_are_reached() -> None:
    quick = (sys.executable, "-c", "pass")
    slow = (sys.executable, "-c", "import time; time.sleep(0.2)")
    found = time_commands({"quick": quick, "slow": slow}, EVERY_ROUND)
    commands = {
        "slow": Goal(slow, "quick", factor=1e9),
        "quick": Goal(quick, "slow", factor=1e-9),
    }
    console = Console(width=200, record=True)
    console.print(table(found, commands))
    text = console.export_text()
    assert f"{FEWEST_PAIRS} quiet rounds of {FEWEST_PAIRS}" in text
    assert "× quick" in text
    assert "1e+09 reached" in text
    assert "1e-09 not reached" in text


def test_run_command_that_fails_raises_its_errors() -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such corpus')"]
    with pytest.raises(click.ClickException, match="no such corpus"):
        run_command(command)


@pytest.mark.slow
def test_goals_name_valid_commands(tmp_path: Path) -> None:
    run = command_in_process(main, clean_environment(tmp_path / "caches"), tmp_path)
    for name, goal in goals(tmp_path).items():
        planned = ["--dry-run"] if name.startswith("suite") else []
        done = run(*goal.command[len(CLSBENCH) :], *planned)
        assert done.returncode == 0, (name, done.stderr)
