"""The conformance kit first, then what each strategy is for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from clsbench_example_freezing import Surgical, TopKParameters

import clsbench
from clsbench.testing import MiniatureBackbone, check_freezing_strategy


@pytest.mark.parametrize(
    "strategy",
    [
        TopKParameters(),
        TopKParameters(k=0.1),
        TopKParameters(k=100),
        Surgical(),
        Surgical(first=1),
        Surgical(last=2),
        Surgical(first=20, last=30),
    ],
    ids=repr,
)
def test_the_strategy_keeps_its_promises(strategy: clsbench.FreezingStrategy) -> None:
    check_freezing_strategy(strategy)


def parameters(*sizes: int) -> list[clsbench.ParameterInfo]:
    return [
        clsbench.ParameterInfo(
            name=f"p{i}", stage="block.0", role="weight", shape=(size,), numel=size
        )
        for i, size in enumerate(sizes)
    ]


@pytest.mark.parametrize(
    ("k", "names"),
    [
        (1, ["p2"]),
        (20, ["p2"]),
        (21, ["p2", "p3"]),
        (60, ["p2", "p3", "p1"]),
        (100, ["p2", "p3", "p1", "p4", "p0"]),
    ],
)
def test_the_largest_tensors_come_first_and_then_the_later_ones(k: float, names: list[str]) -> None:
    assert TopKParameters(k=k).trainable(parameters(1, 5, 7, 5, 2)) == names


def stages(strategy: Surgical, blocks: int) -> list[str]:
    infos = MiniatureBackbone(blocks=blocks).describe()
    names = set(strategy.trainable(infos))
    chosen = {p.stage for p in infos if p.name in names}
    assert names == {p.name for p in infos if p.stage in chosen}  # whole blocks
    return sorted(chosen, key=lambda stage: int(stage.removeprefix("block.")))


@pytest.mark.parametrize(
    ("blocks", "first", "last"), [(12, 4, 7), (4, 1, 2), (3, 1, 1), (2, 0, 1), (1, 0, 0)]
)
def test_the_middle_third_is_the_default(blocks: int, first: int, last: int) -> None:
    expected = [f"block.{number}" for number in range(first, last + 1)]
    assert stages(Surgical(), blocks) == expected


def test_the_range_includes_both_ends() -> None:
    assert stages(Surgical(first=1, last=3), 6) == ["block.1", "block.2", "block.3"]
    assert stages(Surgical(first=5), 6) == ["block.5"]


@pytest.mark.parametrize(
    ("strategy", "blocks", "said"),
    [
        (Surgical(first=1, last=3), 3, "no blocks 1 to 3; the backbone has blocks 0 to 2"),
        (Surgical(first=3), 3, "no blocks 3 to 3; the backbone has blocks 0 to 2"),
        (Surgical(), 0, "the backbone has no blocks"),
    ],
)
def test_blocks_that_do_not_exist_are_the_users_mistake(
    strategy: Surgical, blocks: int, said: str
) -> None:
    with pytest.raises(clsbench.UsageError, match=said):
        strategy.trainable(MiniatureBackbone(blocks=blocks).describe())


def test_a_range_that_runs_backwards_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="last=1 comes before first=2"):
        msgspec.convert({"first": 2, "last": 1}, Surgical)


SPEC = """
dataset = "synthetic-sms:texts=300"
backbone = "gpt2-nano"
baselines = []
[train]
epochs = 1
"""


@pytest.mark.parametrize("choice", ["surgical:first=0,last=1", "top-k-parameters:k=5"])
def test_the_installed_plugin_is_at_work_in_a_run(choice: str, tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(SPEC)
    command = f"run small.toml --offline --device cpu --threads 1 --freezing {choice} --json"
    done = subprocess.run(
        [sys.executable, "-m", "clsbench", *command.split()],
        capture_output=True,
        encoding="utf-8",
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    record = msgspec.json.decode(done.stdout)
    (plugin,) = [p for p in record["plugins"] if p["axis"] == "freezing"]
    assert plugin["distribution"] == "clsbench-example-freezing"
    assert 0 < record["parameters"]["trainable"] < record["parameters"]["total"]
