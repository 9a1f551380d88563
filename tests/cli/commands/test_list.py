from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Command

from clsbench.components.axes import AXES

PLUGIN = '''
from __future__ import annotations

from typing import Annotated, Literal

import clsbench
from msgspec import Meta


class Odd(clsbench.FreezingStrategy):
    """Train every other block."""

    start: Annotated[int, Meta(ge=0, lt=2, description="the first block")] = 0
    order: Literal["upwards", "downwards"] = "upwards"
    share: Annotated[float, Meta(gt=0, le=1)] | None = None

    def trainable(self, parameters):
        return []


@clsbench.hookimpl
def clsbench_register_freezing_strategies():
    return {"odd": Odd}
'''


def test_list_shows_all_axes_and_components(in_process: Command) -> None:
    done = in_process("list")
    assert done.returncode == 0, done.stderr
    for axis in AXES:
        assert axis.name.replace("_", "-") in done.stdout
    for name in ("sms-spam", "gpt2", "last-token", "mlp", "last-blocks", "lora", "tfidf-logreg"):
        assert name in done.stdout
    assert "[clsbench 0.1.0]" in done.stdout
    assert "n  int ≥ 1 = 1 – blocks to train, counted from the top" in done.stdout


@pytest.mark.parametrize(
    "name",
    [
        "freezing_strategies",
        "freezing-strategies",
        "freezing_strategy",
        "freezing-strategy",
        "freezing",
        "Freezing-Strategies",
    ],
)
def test_list_accepts_singular_and_plural_axis_names(in_process: Command, name: str) -> None:
    done = in_process("list", name)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("freezing-strategies")
    assert "last-blocks" in done.stdout
    assert "gpt2" not in done.stdout


def test_list_methods_shows_the_parts_of_each(in_process: Command) -> None:
    done = in_process("list", "methods")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("methods  --method")
    assert "freezing head-only · adapter lora" in done.stdout
    [last_block] = [
        method
        for method in json.loads(in_process("list", "method", "--json").stdout)["methods"]
        if method["name"] == "last-block"
    ]
    assert (last_block["freezing"], last_block["adapter"]) == ("last-blocks:n=1", None)


def test_list_with_an_unknown_axis_suggests_one(in_process: Command) -> None:
    done = in_process("list", "frezing-strategies")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "unknown axis 'frezing-strategies'" in done.stderr
    assert "did you mean 'freezing-strategies'?" in done.stderr


def test_list_json_describes_components_completely(in_process: Command, tmp_path: Path) -> None:
    plugin = tmp_path / "odd.py"
    plugin.write_text(PLUGIN)
    done = in_process("--plugin", plugin, "list", "freezing", "--json")
    assert done.returncode == 0, done.stderr
    components = {c["name"]: c for c in json.loads(done.stdout)["freezing_strategies"]}
    assert components["odd"]["summary"] == "Train every other block."
    assert components["odd"]["distribution"] == "odd.py"
    assert components["odd"]["options"] == [
        {
            "name": "start",
            "type": "int ≥ 0, < 2",
            "required": False,
            "default": 0,
            "description": "the first block",
        },
        {
            "name": "order",
            "type": "upwards | downwards",
            "required": False,
            "default": "upwards",
            "description": "",
        },
        {
            "name": "share",
            "type": "float > 0, ≤ 1",
            "required": False,
            "default": None,
            "description": "",
        },
    ]
    assert components["last-blocks"]["distribution"] == "clsbench"


def test_list_json_of_experiments_includes_their_specs(in_process: Command) -> None:
    done = in_process("list", "experiments", "--json")
    experiments = {e["name"]: e for e in json.loads(done.stdout)["experiments"]}
    assert experiments["gpt2-sms-spam"]["spec"]["dataset"]["name"] == "sms-spam"


def test_list_without_utf8_succeeds(clsbench: Command) -> None:
    done = clsbench("list", "freezing", env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert done.returncode == 0, done.stderr
    assert "int ? 1" in done.stdout
