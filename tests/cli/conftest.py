"""The command line in a subprocess, as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from command_line import Command, clean_environment, command, command_in_process

from clsbench.cli.main import main

SPEC = """
dataset = {{name = "csv", path = "{path}"}}
backbone = "gpt2-nano"
freezing = "all"

[train]
lr = 1e-3
epochs = 2
eval_every = 4
eval_batches = 2
"""

NOISY = """
import clsbench

print("noise while the plugin is imported")

@clsbench.hookimpl
def clsbench_register_heads():
    print("noise while it registers")
    return {}

@clsbench.hookimpl
def clsbench_epoch_finished(entry):
    print("noise of an observer")
"""
"""A plugin that prints to stdout, which is reserved for results."""


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment without settings and with empty caches."""
    return clean_environment(tmp_path_factory.mktemp("caches"))


@pytest.fixture
def clsbench(environment: dict[str, str], tmp_path: Path) -> Command:
    """Runs ``python -m clsbench`` in an empty folder, without the settings of the user."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    return command("clsbench", environment, folder)


@pytest.fixture
def in_process(environment: dict[str, str], tmp_path: Path) -> Command:
    """Runs the command line in this process, in an empty folder; faster than ``clsbench``."""
    folder = tmp_path / "cwd"
    folder.mkdir(exist_ok=True)
    return command_in_process(main, environment, folder)


@pytest.fixture
def in_process_suite(in_process: Command) -> Command:
    """Runs ``clsbench suite`` and all its rows in this process."""

    def run(*arguments: str | Path, env: dict[str, str] | None = None) -> CompletedProcess[str]:
        plugin = ("--plugin", "in_process_executor")
        return in_process(*plugin, "suite", *arguments, "--executor", "in-process", env=env)

    return run


@pytest.fixture(scope="session")
def spec_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment of two seconds: an easy CSV file and the embedded backbone."""
    folder = tmp_path_factory.mktemp("experiment")
    data = folder / "fruit.csv"
    lines = [f"{word} number {n},{word}" for n in range(40) for word in ("apple", "pear")]
    data.write_text("text,label\n" + "\n".join(lines) + "\n")
    file = folder / "fruit.toml"
    file.write_text(SPEC.format(path=data))
    return file


@pytest.fixture(scope="session")
def finished(
    environment: dict[str, str], spec_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The record of a run with a noisy plugin as ``--json`` prints it, its stderr and its store."""
    store = tmp_path_factory.mktemp("store")
    plugin = spec_file.with_name("noisy.py")
    plugin.write_text(NOISY)
    arguments = [sys.executable, "-m", "clsbench", "--plugin", plugin]
    done = subprocess.run(
        [*arguments, "run", spec_file, "--out", store, "--json", "--curves"],
        capture_output=True,
        encoding="utf-8",
        env=environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "stderr": done.stderr, "store": store}
