"""The commands and code that documentation shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import rich_click as click

from clsbench.cli.main import app


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """The commands behind a prompt, in order."""
    lines = "".join(blocks(page, "console")).splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def shell_commands(page: Path) -> list[str]:
    """The commands in shell blocks that begin with ``clsbench``, without remarks."""
    lines = "".join(blocks(page, "sh")).splitlines()
    return [line.partition("  #")[0].strip() for line in lines if line.startswith("clsbench ")]


def parse(example: str) -> None:
    """Let click parse the command line without running it.

    Raises:
        click.ClickException: the command does not accept it.
    """
    words = shlex.split(re.split(r" [|<>] ", example)[0])
    context = app.make_context("clsbench", words[1:])
    with context:
        rest = [*context._protected_args, *context.args]
        while rest and isinstance(context.command, click.Group):
            name, command, rest = context.command.resolve_command(context, rest)
            assert command is not None
            context = command.make_context(name, rest, parent=context)
            rest = [*getattr(context, "_protected_args", []), *context.args]
