"""Every command and every piece of code in the README and in help does what it says it does."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import rich_click as click

from clsbench.cli.main import COMMANDS, app

README = Path(__file__).resolve().parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """What stands behind a prompt, in order."""
    lines = "".join(blocks("console")).splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def all_commands() -> Iterator[click.Command]:
    """The program and each of its commands."""
    yield app
    for name in COMMANDS:
        command = app.get_command(click.Context(app), name)
        assert command is not None
        yield command
        if isinstance(command, click.Group):
            yield from command.commands.values()


def help_examples() -> list[str]:
    """The commands in all help texts, without the remarks behind them."""
    texts = [(command.help or "").split("\b\n")[1:] for command in all_commands()]
    lines = [
        line for parts in texts for part in parts for line in part.partition("\n\n")[0].split("\n")
    ]
    examples = [re.split(r" {2,}", line.strip())[0] for line in lines]
    return list(dict.fromkeys(e for e in examples if e.startswith("clsbench ")))


# --- fast: every example is understood ------------------------------------------------------------


@pytest.mark.parametrize("example", [*dict.fromkeys([*commands(), *help_examples()])])
def test_example_is_understood(
    example: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(re.split(r" [|<>] ", example)[0])
    context = app.make_context("clsbench", words[1:])
    with context:
        rest = [*context._protected_args, *context.args]
        while rest and isinstance(context.command, click.Group):
            name, command, rest = context.command.resolve_command(context, rest)
            assert command is not None
            context = command.make_context(name, rest, parent=context)
            rest = [*getattr(context, "_protected_args", []), *context.args]


# --- slow: every command of the README does what it says ------------------------------------------


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
    environment["CLSBENCH_CACHE"] = str(folder / "cache")
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
        if "clsbench predict" in command:
            shown = re.findall(r"^(\w+) +0\.", result.stdout, flags=re.MULTILINE)
            assert shown == ["spam", "ham"], "as the README says"


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
