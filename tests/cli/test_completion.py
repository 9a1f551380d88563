"""Completion by the protocol of bash, and once in bash."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Command


def completions(clsbench: Command, *words: str, env: dict[str, str] | None = None) -> list[str]:
    """The completions of the last word."""
    done = clsbench(
        env={
            **(env or {}),
            "_CLSBENCH_COMPLETE": "bash_complete",
            "COMP_WORDS": "\n".join(["clsbench", *words]),
            "COMP_CWORD": str(len(words)),
        }
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["sh"], ["show"]),
        (["run", "gpt2-s"], ["gpt2-sms-spam"]),
        (["show", "gpt2-i"], ["gpt2-imdb"]),
        (["list", "freez"], ["freezing-strategies"]),
        (["run", "gpt2-sms-spam", "--freezing", "last"], ["last-blocks"]),
        (["run", "gpt2-sms-spam", "--freezing", "last-blocks:"], ["last-blocks:n="]),
        (["run", "gpt2-sms-spam", "--method", "lo"], ["lora"]),
        (["run", "gpt2-sms-spam", "--method", "lora:"], [""]),
        (["run", "gpt2-sms-spam", "--precision", "b"], ["bf16"]),
        (["run", "gpt2-sms-spam", "--dry"], ["--dry-run"]),
    ],
)
def test_completion_of_names_and_options(
    clsbench: Command, words: list[str], expected: list[str]
) -> None:
    assert completions(clsbench, *words) == expected


def test_completion_includes_named_plugins(clsbench: Command, tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "import clsbench\n"
        "class Mine(clsbench.Head):\n    'A head.'\n"
        "@clsbench.hookimpl\ndef clsbench_register_heads(): return {'mine': Mine}\n"
    )
    words = ["--plugin", str(plugin), "run", "gpt2-sms-spam", "--head", "mi"]
    assert completions(clsbench, *words) == ["mine"]
    assert completions(clsbench, *words[2:], env={"CLSBENCH_PLUGINS": str(plugin)}) == ["mine"]


def test_completion_with_broken_plugin_still_works(clsbench: Command, tmp_path: Path) -> None:
    words = ["--plugin", str(tmp_path / "none.py"), "run", "gpt2-sms-s"]
    assert completions(clsbench, *words) == ["gpt2-sms-spam"]


def test_completion_of_stored_runs(clsbench: Command, tmp_path: Path) -> None:
    for name in ("20261121T000000Z-a-1", "20261122T000000Z-b-2"):
        (tmp_path / "store" / name).mkdir(parents=True)
        (tmp_path / "store" / name / "record.json").write_text("{}")
    found = completions(clsbench, "predict", "--out", str(tmp_path / "store"), "2026112")
    assert found == ["20261122T000000Z-b-2", "20261121T000000Z-a-1"]
    assert completions(clsbench, "predict", "la") == ["latest"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_completion_in_bash_works(tmp_path: Path) -> None:
    """bash sources the script that ``--help`` names, with ``clsbench`` on PATH."""
    command = tmp_path / "clsbench"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m clsbench "$@"\n')
    command.chmod(0o755)
    script = """
        eval "$(_CLSBENCH_COMPLETE=bash_source clsbench)"
        COMP_WORDS=(clsbench run gpt2-sms-spam --freezing last)
        COMP_CWORD=4
        _clsbench_completion clsbench
        echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        capture_output=True,
        encoding="utf-8",
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )
    assert done.stdout == "last-blocks\n", done.stderr
