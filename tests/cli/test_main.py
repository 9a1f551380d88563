"""The command ``clsbench`` and the list of its commands."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import rich_click as click

from clsbench.cli.main import COMMANDS, app, load_command


@pytest.mark.parametrize("name", COMMANDS)
def test_command_help_begins_with_its_summary(name: str) -> None:
    command = load_command(name)
    assert command.name == name
    assert (command.help or "").partition("\n")[0] == COMMANDS[name].summary
    listed = app.get_command(click.Context(app), name)
    assert listed is not None
    assert listed.help == COMMANDS[name].summary


def test_help_of_the_program_imports_no_command() -> None:
    code = (
        "import json, sys\n"
        "from clsbench.cli.main import main\n"
        "try:\n    main(['--help'])\n"
        "finally:\n    print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.returncode == 0
    loaded = set(json.loads(done.stderr))
    assert "clsbench.cli.main" in loaded
    assert not any(name.startswith("clsbench.cli.commands") for name in loaded)
    assert not loaded & {"msgspec", "clsbench.components.axes"}
