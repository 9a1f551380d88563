"""The race of ``benchmarks/gpu.py``, on the CPU with a tiny model."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch

pytest.importorskip("llms_from_scratch", reason="the peer is absent")

from bounded_parts import PartReport
from gpu_compile import compiled_side, is_wait
from gpu_page import Heading, page
from gpu_race import MINIATURE, MODES, Contenders, Trained, arithmetic, race_all
from our_side import OurSide
from workload import SETTINGS, prepare

CPU = torch.device("cpu")


def test_arithmetic_allows_tf32_inside_only() -> None:
    before = torch.get_float32_matmul_precision()
    for mode in MODES:
        with arithmetic(mode):
            expected = "high" if mode.name == "tf32" else "highest"
            assert torch.get_float32_matmul_precision() == expected
    assert torch.get_float32_matmul_precision() == before


def test_trained_anew_restores_weights_and_clears_gradients() -> None:
    trained = Trained.of(torch.nn.Linear(2, 1))
    first = {name: value.clone() for name, value in trained.module.state_dict().items()}
    trained.module(torch.ones(1, 2)).sum().backward()
    with torch.no_grad():
        for parameter in trained.module.parameters():
            parameter.add_(1)
    again = trained.anew()
    assert all(torch.equal(value, first[name]) for name, value in again.state_dict().items())
    assert all(parameter.grad is None for parameter in again.parameters())


@pytest.mark.parametrize(
    ("name", "waits"),
    [
        ("cudaStreamSynchronize", True),
        ("cudaDeviceSynchronize", True),
        ("cuEventSynchronize", True),
        ("cudaLaunchKernel", False),
        ("cudaMemcpyAsync", False),
        ("aten::item", False),
    ],
)
def test_is_wait_counts_synchronizing_calls(name: str, waits: bool) -> None:
    assert is_wait(name) == waits


@pytest.mark.slow
def test_contenders_with_other_weights_are_not_timed(assets_dir: Path, tmp_path: Path) -> None:
    contenders = Contenders(SETTINGS["last-block"], CPU, assets_dir, MINIATURE)
    fp32, _, bf16 = MODES
    limits = None  # nothing is timed
    contenders._book.weights["out_head.bias"][0] += 3
    refused = contenders.race(fp32, limits, tmp_path)  # type: ignore[arg-type]
    assert refused.verdict.startswith("losses differ by ")
    assert refused.race is None
    contenders._book.weights["out_head.bias"][0] -= 3
    assert contenders._fast_book is not None
    contenders._fast_book.weights["out_head.bias"][0] += 3
    refused = contenders.race(fp32, limits, tmp_path)  # type: ignore[arg-type]
    assert refused.verdict.startswith("losses of GPTModelFast differ by ")
    assert refused.race is None
    contenders._fp32_book = list(refused.equality.ours)
    contenders._our_weights.weights["out_head.bias"][0] += 3
    refused = contenders.race(bf16, limits, tmp_path)  # type: ignore[arg-type]
    assert refused.verdict.startswith("losses differ by ")
    assert 1e-2 <= refused.allowed < refused.difference


@pytest.mark.slow
def test_race_all_keeps_errors_as_verdicts_and_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    saved: list[int] = []
    scale = MINIATURE._replace(settings=("head-only", "lora"), size="unknown")
    rows = race_all(CPU, None, scale, lambda result: saved.append(len(result.rows)))
    assert saved == list(range(7))
    assert {row.verdict for row in rows} == {"failed: KeyError: 'unknown'"}
    assert "Traceback" in capsys.readouterr().err
    result = msgspec.to_builtins({"limits": {}, "rows": rows})
    report = PartReport(name="race", about="", status="failed", limit_seconds=1, result=result)
    heading = Heading(date="", versions={}, device_name="", rehearse=False, minutes=8)
    assert page(heading, [report], "Finished").count("| failed: KeyError") == 6


@pytest.mark.slow
def test_sides_of_all_modes_start_from_the_same_weights(assets_dir: Path, tmp_path: Path) -> None:
    contenders = Contenders(SETTINGS["all"], CPU, assets_dir, MINIATURE)
    workload = contenders._workloads["fp32"]
    losses = []
    for _ in range(2):
        side = contenders.our_side(workload, tmp_path)
        losses.append([side.step() for _ in range(3)])
        side.close()
    assert losses[0] == losses[1]
    assert len(set(losses[0])) == 3, "it trains"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["CUDA graphs", "compile"])
def test_compiled_side_trains_as_the_eager_one(how: str, assets_dir: Path, tmp_path: Path) -> None:
    """No graphs are recorded on the CPU."""
    torch.compiler.reset()
    workload = prepare(SETTINGS["last-block"], "tiny", assets_dir, threads=1, batches=2)
    eager, compiled = OurSide(workload, tmp_path), compiled_side(how)(workload, tmp_path)
    expected = [eager.step() for _ in range(5)]
    try:
        found = [compiled.step() for _ in range(5)]
    except Exception as error:
        if "compiler" in str(error).lower():
            pytest.skip("torch.compile finds no C++ compiler")
        raise
    assert found == pytest.approx(expected, abs=1e-5)
    assert type(compiled.forward).__name__ == "Compiled"
    assert compiled.forward._suffix is not None  # type: ignore[attr-defined]
