"""Every command and every piece of code in the README does what it says it does."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from clsbench.cli.main import COMMANDS

README = Path(__file__).resolve().parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """What stands behind a prompt, in order."""
    lines = "".join(blocks("console")).splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the README's plugin in it; commands follow one another in it."""
    path = tmp_path_factory.mktemp("reader")
    plugin = next(block for block in blocks("python") if block.startswith("# my_strategy.py"))
    (path / "my_strategy.py").write_text(plugin, encoding="utf-8")
    return path


def in_folder(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    scripts = Path(sys.executable).parent
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CLSBENCH_")}
    environment["CLSBENCH_LOAD_LIMIT"] = "1000"  # here nobody looks at the times
    environment["PATH"] = f"{scripts}{os.pathsep}{environment.get('PATH', '')}"
    return subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )


@pytest.mark.slow
def test_every_command_runs_in_the_readers_order(folder: Path) -> None:
    found = commands()
    assert {shlex.split(command)[0] for command in found} == {"clsbench"}
    for command in found:
        result = in_folder(shlex.split(command), folder)
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
        assert result.stdout.strip(), command


@pytest.mark.slow
def test_every_piece_of_python_runs(folder: Path) -> None:
    for block in blocks("python"):
        result = in_folder([sys.executable, "-c", block], folder)
        assert result.returncode == 0, f"{block}\n{result.stderr}"


def test_the_plugin_is_short() -> None:
    plugin = next(block for block in blocks("python") if block.startswith("# my_strategy.py"))
    code = [line for line in plugin.splitlines() if line.strip() and not line.startswith("#")]
    assert len(code) <= 10


def test_the_two_commands_stand_first() -> None:
    first, *_ = blocks("sh")
    run, test = first.splitlines()
    assert run.endswith("clsbench run gpt2-sms-spam --offline")
    assert test.endswith("pytest")


def test_every_command_of_the_program_is_mentioned() -> None:
    for name in COMMANDS:
        assert f"`clsbench {name}" in TEXT


def test_every_link_and_picture_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        if "://" not in target:
            assert (README.parent / target).exists(), target
