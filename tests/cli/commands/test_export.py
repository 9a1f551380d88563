"""``clsbench export``: formats of plugins, refused requests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Command

PLUGIN = """
import clsbench

class Classes(clsbench.Exporter):
    "The names of the classes."

    separator: str = ","

    def export(self, run, directory):
        print("a library talks")
        (directory / "classes").write_text(self.separator.join(run.record.data.class_names))

@clsbench.hookimpl
def clsbench_register_exporters():
    return {"classes": Classes}
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    file = tmp_path / "classes.py"
    file.write_text(PLUGIN)
    return file


def test_export_writes_the_format_of_a_plugin(
    in_process: Command, finished: dict[str, Any], plugin: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    chosen = ("--format", "classes:separator=/", "-o", target)
    done = in_process("--plugin", plugin, "export", finished["path"], *chosen, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"directory": str(target), "files": ["classes"]}
    assert (target / "classes").read_text() == "apple/pear"
    assert "a library talks" in done.stderr
    again = in_process("--plugin", plugin, "export", finished["path"], *chosen)
    assert again.returncode == 2
    assert "the folder is not empty; name a new folder" in again.stderr


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("transformers", "pip install clsbench-transformers"),
        ("clases", "did you mean 'classes'?"),
        ("classes:sep=/", "separator"),
    ],
)
def test_export_unusable_format_is_refused_with_the_remedy(
    in_process: Command,
    finished: dict[str, Any],
    plugin: Path,
    tmp_path: Path,
    form: str,
    said: str,
) -> None:
    target = tmp_path / "out"
    chosen = ("--format", form, "-o", target)
    done = in_process("--plugin", plugin, "export", finished["path"], *chosen)
    assert done.returncode == 2
    assert said in done.stderr
    assert not target.exists()
