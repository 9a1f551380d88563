"""The examples of the documentation load as plugins, pass their checks and run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import command_in_process
from documented_commands import blocks, commands, parse, shell_commands

import clsbench
from clsbench import testing
from clsbench.cli.main import main
from clsbench.components.axes import AXES
from clsbench.components.catalog import Entry, load_catalog
from clsbench.components.component import Component

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted((REPOSITORY / "docs").rglob("*.md"))
CHECKS: dict[str, Callable[..., None]] = {
    "datasets": testing.check_dataset,
    "backbones": testing.check_backbone,
    "poolings": testing.check_pooling,
    "heads": testing.check_head,
    "freezing_strategies": testing.check_freezing_strategy,
    "adapters": testing.check_adapter,
    "optimizers": testing.check_optimizer,
    "schedules": testing.check_schedule,
    "losses": testing.check_loss,
    "baselines": testing.check_baseline,
    "metrics": testing.check_metric,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "folders": {"path": "reviews"},
    "subset": {"of": clsbench.make_component("dataset", "synthetic-sms")},
}
"""Options that an example needs, by the name of its component."""


def plugins() -> dict[str, str]:
    """The complete examples by file name: the blocks that begin with ``# name.py: …``."""
    found = {}
    for page in PAGES:
        for block in blocks(page, "python"):
            if named := re.match(r"# (\w+\.py): ", block):
                found[named[1]] = block
    return found


PLUGINS = plugins()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all examples and the texts that they read."""
    path = tmp_path_factory.mktemp("examples")
    for name, source in PLUGINS.items():
        (path / name).write_text(source, encoding="utf-8")
    for label, texts in {"bad": ["dull", "too long"], "good": ["a joy", "fresh"]}.items():
        (path / "reviews" / label).mkdir(parents=True)
        for number in range(20):
            text = f"{texts[number % 2]} {number}"
            (path / "reviews" / label / f"{number}.txt").write_text(text, encoding="utf-8")
    rows = [f'"a text, number {number}",{"good" if number % 2 else "bad"}' for number in range(80)]
    (path / "reviews.csv").write_text("\n".join(["body,stars", *rows]), encoding="utf-8")
    return path


def registered(plugin: Path) -> list[Entry]:
    """The components that the plugin registers."""
    own = load_catalog([str(plugin)]).entries
    built_in = load_catalog().entries
    return [
        entry
        for axis, entries in own.items()
        for name, entry in entries.items()
        if name not in built_in[axis]
    ]


def test_docs_have_a_complete_example_for_every_axis() -> None:
    hooks = {hook for source in PLUGINS.values() for hook in re.findall(r"def (\w+)", source)}
    assert {axis.hook for axis in AXES} <= hooks


@pytest.mark.parametrize("name", PLUGINS)
def test_docs_complete_example_loads_and_passes_its_check(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    entries = registered(folder / name)
    for entry in entries:
        if isinstance(entry.component, type) and entry.axis in CHECKS:
            component = entry.component(**OPTIONS.get(entry.name, {}))
            assert isinstance(component, Component)
            CHECKS[entry.axis](component)
    assert entries or "clsbench_run_finished" in PLUGINS[name]


def test_docs_commands_are_parsed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for page in PAGES:
        for command in [*commands(page), *shell_commands(page)]:
            parse(command)


def test_docs_links_and_pictures_exist() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            if "://" not in target and "reference/" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


# The times are not checked, so do not wait for a quiet machine.
NO_LIMIT = {"CLSBENCH_LOAD_LIMIT": "1e9"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if commands(page)],
    ids=lambda page: str(page.relative_to(REPOSITORY / "docs").with_suffix("")),
)
def test_docs_commands_of_a_page_run_in_order(page: Path, folder: Path) -> None:
    for command in commands(page):
        words = shlex.split(re.sub(r"--budget \d+", "--budget 0", command))[1:]
        done = command_in_process(main, {**os.environ, **NO_LIMIT}, folder)(*words)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        if "predict" in words:
            predicted = re.findall(r"^(\w+) +0\.", done.stdout, flags=re.MULTILINE)
            assert predicted == ["spam", "ham"]
    if page.stem == "observer":
        assert (folder / "epochs.jsonl").read_text().count("\n") == 2


@pytest.mark.slow
def test_docs_python_snippets_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    snippets = [
        block
        for page in PAGES
        for block in blocks(page, "python")
        if re.search(r"^import clsbench", block, flags=re.MULTILINE)
        and block not in PLUGINS.values()
    ]
    assert snippets
    for snippet in snippets:
        exec(compile(snippet, "<documentation>", "exec"), {"__name__": "__main__"})


@pytest.mark.slow
def test_docs_executor_example_passes_check_executor(folder: Path) -> None:
    code = "import clsbench.testing, pool\nif __name__ == '__main__':\n"
    code += "    clsbench.testing.check_executor(pool.Pool())\n"
    (folder / "check_pool.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "check_pool.py"],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        timeout=550,
    )
    assert done.returncode == 0, done.stderr


def test_docs_examples_use_only_public_names() -> None:
    used = {name for source in PLUGINS.values() for name in re.findall(r"clsbench\.(\w+)", source)}
    assert used - {"data", "errors", "executors"} <= set(dir(clsbench))
