from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from tools.stand_ins.pretrain import language_model_loss, main, train_tokenizer
from tools.stand_ins.stream import batches

from clsbench.builtin.backbones import gpt2_nano
from clsbench.builtin.backbones.gpt2.module import GPT2Module
from clsbench.builtin.backbones.gpt2_nano.shape import SHAPE
from clsbench.builtin.backbones.gpt2_nano.storage import load_weights
from clsbench.builtin.backbones.gpt2_nano.tokenizer import load_tokenizer

REPOSITORY = Path(__file__).resolve().parents[3]


def test_pretrain_same_seed_writes_equal_loadable_files(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    arguments = ["--steps", "3", "--batch-size", "2", "--tokenizer-threads", "300"]
    outputs = []
    try:
        for name in ("one", "two"):
            result = CliRunner().invoke(main, [str(tmp_path / name), *arguments])
            assert result.exit_code == 0, result.output
            assert "step 3/3" in result.output
            outputs.append({f.name: f.read_bytes() for f in (tmp_path / name).iterdir()})
    finally:
        torch.set_num_threads(threads)
    assert outputs[0] == outputs[1]
    load_tokenizer(tmp_path / "one").encode("hello")
    module = GPT2Module(SHAPE)
    load_weights(module, tmp_path / "one")
    batch = next(batches(77, load_tokenizer(tmp_path / "one"), 2, SHAPE.context_length))
    assert torch.isfinite(language_model_loss(module, batch))


@pytest.mark.slow
def test_pretrain_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "tools.stand_ins.pretrain", "--help"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert "OUTPUT_DIR" in run.stdout
    assert "--seed" in run.stdout


@pytest.mark.slow
def test_train_tokenizer_gives_the_embedded_tokens() -> None:
    tokenizer = load_tokenizer(Path(gpt2_nano.__file__).parent)
    ranks = train_tokenizer(seed=1000, threads=6000)
    assert [tokenizer.encoding.decode_single_token_bytes(rank) for rank in range(len(ranks))] == (
        sorted(ranks, key=ranks.__getitem__)
    )
