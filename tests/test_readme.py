"""Every command and code block in the README and in help texts is valid and runs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import rich_click as click
from command_line import command_in_process
from documented_commands import blocks, commands, parse, shell_commands

from clsbench.cli.main import COMMANDS, app, load_command, main

README = Path(__file__).resolve().parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")
START = README.parent / "docs" / "index.md"


def all_commands() -> Iterator[click.Command]:
    """The program and each of its commands."""
    yield app
    for name in COMMANDS:
        command = load_command(name)
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


# --- fast: every example is parsed ----------------------------------------------------------------


@pytest.mark.parametrize(
    "example", dict.fromkeys([*commands(README), *shell_commands(README), *help_examples()])
)
def test_examples_of_readme_and_help_are_parsed(
    example: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    parse(example)


# --- slow: every example runs ---------------------------------------------------------------------

ELSEWHERE = re.compile(
    r"clsbench (assets (fetch|verify)|bench (history|check|baseline)|export .*transformers|"
    r"predict .*--pair)\b"
)
"""These need a network, whole weights, the history that ``pytest benchmarks/`` makes, a plugin
whose own tests run them, or a run on text pairs."""


PLUGIN = next(block for block in blocks(README, "python") if block.startswith("# my_strategy.py"))
SUITE = 'base = "gpt2-sms-spam"\n[[rows]]\ntitle = "head"\nchanges = {freezing = "head-only"}\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the README's plugin, in which the commands run in order."""
    path = tmp_path_factory.mktemp("reader")
    (path / "my_strategy.py").write_text(PLUGIN, encoding="utf-8")
    return path


def environment(folder: Path) -> dict[str, str]:
    scripts = Path(sys.executable).parent
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CLSBENCH_")}
    return {
        **kept,
        "CLSBENCH_LOAD_LIMIT": "1e9",  # the times are not checked
        "CLSBENCH_CACHE": str(folder / "cache"),
        "PATH": f"{scripts}{os.pathsep}{kept.get('PATH', '')}",
    }


def in_folder(
    arguments: list[str] | str, folder: Path, shell: bool = False
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments,
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=600,
        shell=shell,
        executable="/bin/bash" if shell else None,
    )


def in_process(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``clsbench`` successfully in this process, which saves the start of Python."""
    done = command_in_process(main, environment(folder), folder)(*words)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done


@pytest.mark.slow
def test_readme_commands_run_in_order(folder: Path) -> None:
    found = commands(README)
    assert {shlex.split(command)[0] for command in found} == {"clsbench"}
    for command in found:
        result = in_folder(shlex.split(command), folder)
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
        assert result.stdout.strip(), command


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files, runs and suite that the examples in help name."""
    path = tmp_path_factory.mktemp("prepared")
    (path / "mine.py").write_text(PLUGIN, encoding="utf-8")
    (path / "my-suite.toml").write_text(SUITE, encoding="utf-8")
    (path / "messages.txt").write_text("see you at seven\nyou have won\n", encoding="utf-8")
    (path / "messages.csv").write_text("body,n\nsee you at seven,1\n", encoding="utf-8")
    for name in ("a", "b"):
        rows = [f"{word} {name} {n},{word}" for n in range(40) for word in ("apple", "pear")]
        (path / f"{name}.csv").write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    (path / "DIR").mkdir()
    small = shlex.split(
        "--offline --threads 1 --dataset synthetic-sms:texts=800 --set train.epochs=1"
    )
    same_texts = [*small, "--set", "data.split=book-ablation"]  # the split of the suite's rows
    (path / "mine.toml").write_text(in_process(path, "show", "gpt2-sms-spam").stdout)
    in_process(path, "run", "gpt2-sms-spam", *same_texts, "--pooling", "mean")
    (run,) = (path / "runs").glob("2*")
    run.rename(path / "runs" / "20251121T101729Z-gpt2-sms-spam-00000000")
    in_process(path, "suite", "gpt2-sms-spam-ablation", "--rows", "3", *small)
    in_process(path, "run", "gpt2-sms-spam", *same_texts, "--pooling", "max")
    shutil.copytree(next((path / "cache" / "activations").iterdir()), path / "cache_entry")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("example", [e for e in help_examples() if not ELSEWHERE.match(e)])
def test_help_example_runs_on_the_stand_ins(example: str, prepared: Path) -> None:
    if "| jq" in example and shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    command = affordable(example, prepared)
    if re.search(r"[|<>*]", command):
        done = in_folder(command, prepared, shell=True)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    else:
        in_process(prepared, *shlex.split(command)[1:])


def affordable(example: str, folder: Path) -> str:
    """The example with stand-ins, on the CPU, and without long training."""
    command = example.replace("--device cuda:1", "--device cpu")
    words = command.split()
    if words[1] in ("run", "suite"):
        command += " --offline" * ("--offline" not in words)
        command += " --dry-run" * ("--dry-run" not in words)
        command += " --rows 3" * ("gpt2-sms-spam-ablation" in words and "--rows" not in words)
    elif words[1] == "bench":
        command += " --budget 0 --threads 1" + " --offline" * ("--offline" not in words)
        command += " --phase forward" * ("--phase" not in words)
    elif words[1:3] == ["cache", "clear"]:
        for digest in re.findall(r"\b[0-9a-f]{4,}\b", example):
            entry = folder / "cache" / "activations" / digest.ljust(64, "0")
            shutil.copytree(folder / "cache_entry", entry)
    return command


@pytest.mark.slow
def test_readme_python_blocks_run(folder: Path) -> None:
    for block in blocks(README, "python"):
        result = in_folder([sys.executable, "-c", block], folder)
        assert result.returncode == 0, f"{block}\n{result.stderr}"


def test_readme_plugin_has_at_most_ten_lines() -> None:
    code = [line for line in PLUGIN.splitlines() if line.strip() and not line.startswith("#")]
    assert len(code) <= 10


def test_readme_first_block_has_run_and_test_commands() -> None:
    first, *_ = blocks(README, "sh")
    run, test = first.splitlines()
    assert run.endswith("clsbench run gpt2-sms-spam --offline")
    assert test.endswith("pytest")


def test_start_page_mentions_every_command() -> None:
    text = START.read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"`clsbench {name}`" in text


def test_readme_links_and_pictures_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        if "://" not in target:
            assert (README.parent / target).exists(), target
