"""The generated reference lists every component, option, hook, command, key and public name."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import msgspec
import pytest

import clsbench
from clsbench import data, executors, testing
from clsbench.cli.main import COMMANDS
from clsbench.components.axes import AXES
from clsbench.components.catalog import load_catalog
from clsbench.schema.options import RunOptions
from clsbench.schema.record import RunRecord
from clsbench.schema.training import TrainSettings

SOURCE = Path(__file__).resolve().parents[2] / "tools" / "reference_pages.py"


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("reference_pages", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: "\n".join(lines) for name, lines in module.pages().items()}


def missing(names: list[str], page: str) -> list[str]:
    return [name for name in names if name not in page]


def test_components_page_has_every_built_in_and_hook(pages: dict[str, str]) -> None:
    entries = load_catalog().entries
    names = [
        f"### `{entry.name}`"
        for axis in AXES
        for entry in entries[axis.name].values()
        if entry.distribution == "clsbench"
    ]
    assert not missing([*names, *(axis.hook for axis in AXES)], pages["components"])


def test_options_page_has_every_key_of_spec_and_run(pages: dict[str, str]) -> None:
    keys = [f"`train.{field}`" for field in TrainSettings.__struct_fields__]
    options = [f"`{field}`" for field in RunOptions.__struct_fields__]
    assert not missing([*keys, *options, "`data.split.name`", "`dataset`"], pages["options"])


def test_hooks_page_has_every_hook(pages: dict[str, str]) -> None:
    from clsbench.components.hookspecs import LifecycleHooks, RegistrationHooks

    hooks = [
        name
        for group in (RegistrationHooks, LifecycleHooks)
        for name in vars(group)
        if name.startswith("clsbench_")
    ]
    assert not missing(hooks, pages["hooks"])


def test_commands_page_has_every_command(pages: dict[str, str]) -> None:
    names = [*COMMANDS, "assets fetch", "cache clear"]
    options = ["`--freezing`", "`--executor`", "`--guard-formulas`", "`--numerics`"]
    assert not missing([*(f"## `clsbench {n}`" for n in names), *options], pages["commands"])


def test_record_page_has_every_key_of_the_record(pages: dict[str, str]) -> None:
    keys = [f"`{field.encode_name}`" for field in msgspec.structs.fields(RunRecord)]
    assert not missing([*keys, "`accuracy`", "`run_key`"], pages["record"])


def test_metrics_page_has_every_metric(pages: dict[str, str]) -> None:
    names = load_catalog().entries["metrics"]
    assert not missing([f"`{name}`" for name in names], pages["metrics"])
    assert not missing(["`macro_f1`", "`loss`", "`accuracy_without_leaked`"], pages["metrics"])


def test_api_pages_have_every_public_name(pages: dict[str, str]) -> None:
    assert not missing(
        [f".{name}\n" for name in dir(clsbench) if name[0] != "_"], pages["api"] + "\n"
    )
    assert not missing([f".{name}\n" for name in testing.__all__], pages["testing"] + "\n")
    assert not missing([f".{name}\n" for name in executors.__all__], pages["executors"] + "\n")
    assert not missing([f".{name}\n" for name in data.__all__], pages["data"] + "\n")
