"""The strategies of the example plugin: conformance, chosen parameters and errors."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from clsbench_example_freezing import Surgical, TopKParameters

import clsbench
from clsbench.cli.main import main
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
def test_strategies_pass_the_conformance_kit(strategy: clsbench.FreezingStrategy) -> None:
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
def test_top_k_parameters_equal_sizes_prefers_later_tensors(k: float, names: list[str]) -> None:
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
def test_surgical_default_trains_the_middle_third_of_blocks(
    blocks: int, first: int, last: int
) -> None:
    expected = [f"block.{number}" for number in range(first, last + 1)]
    assert stages(Surgical(), blocks) == expected


def test_surgical_range_includes_both_ends() -> None:
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
def test_surgical_missing_blocks_raise_usage_error(
    strategy: Surgical, blocks: int, said: str
) -> None:
    with pytest.raises(clsbench.UsageError, match=said):
        strategy.trainable(MiniatureBackbone(blocks=blocks).describe())


def test_surgical_reversed_range_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="last=1 comes before first=2"):
        msgspec.convert({"first": 2, "last": 1}, Surgical)


SPEC = """
dataset = "synthetic-sms:texts=100"
backbone = "gpt2-nano"
baselines = []
[train]
epochs = 1
"""


@pytest.mark.parametrize("choice", ["surgical:first=0,last=1", "top-k-parameters:k=5"])
def test_run_with_installed_strategy_records_the_plugin(
    choice: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLSBENCH_CURVES", "false")  # half of the time of a small run
    Path("small.toml").write_text(SPEC)
    command = f"run small.toml --offline --device cpu --threads 1 --freezing {choice} --json"
    with pytest.raises(SystemExit) as ended:
        main(command.split())
    output, errors = capsys.readouterr()
    assert not ended.value.code, errors
    record = msgspec.json.decode(output)
    (plugin,) = [p for p in record["plugins"] if p["axis"] == "freezing"]
    assert plugin["distribution"] == "clsbench-example-freezing"
    assert 0 < record["parameters"]["trainable"] < record["parameters"]["total"]
