"""Makes gpt2-nano: ``python -m tools.stand_ins.pretrain OUTPUT_DIR``.

Trains the byte-pair encoding, then the network as a language model, on texts of the grammar of
``synthetic-sms`` without labels. Other seeds than that of the data set are used, so that the model
does not see its texts.
"""

from __future__ import annotations

import base64
import itertools
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import rich_click as click
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tools.stand_ins.bpe import train_ranks
from tools.stand_ins.grammar import Messenger
from tools.stand_ins.stream import Batch, batches
from torch import Tensor, nn

from clsbench.builtin.backbones.gpt2.module import GPT2Module, language_model_logits
from clsbench.builtin.backbones.gpt2_nano.shape import SHAPE
from clsbench.builtin.backbones.gpt2_nano.storage import WEIGHTS_FILE
from clsbench.builtin.backbones.gpt2_nano.tokenizer import (
    PATTERN,
    RANKS_FILE,
    NanoTokenizer,
    make_encoding,
)

_PEAK_LR = 2.5e-3
_WEIGHT_DECAY = 0.1
_WARMUP_STEPS = 50
_GRADIENT_NORM = 1.0
_INIT_STD = 0.05

# The token embedding is the output layer as well, so large embeddings allow small features. As with
# GPT-2, a new head alone cannot classify by small features.
_TOKEN_STD = 0.3
_FINAL_NORM_SCALE = 0.4


def train_tokenizer(seed: int, threads: int) -> dict[bytes, int]:
    """The ranks of the byte-pair encoding, learned from ``threads`` threads of the grammar."""
    drawn = itertools.islice(Messenger(seed).threads(), threads)
    texts = (text for thread in drawn for text in thread)
    return train_ranks(texts, PATTERN, SHAPE.vocabulary_size - 1)


def initialize(module: GPT2Module, seed: int) -> None:
    """Draw the weights as in GPT-2: normal, smaller residual projections, biases zero."""
    generator = torch.Generator().manual_seed(seed)
    residual_std = _INIT_STD / math.sqrt(2 * SHAPE.blocks)
    for name, parameter in module.named_parameters():
        if parameter.ndim == 2:
            residual = name.endswith(("out_proj.weight", "layers.2.weight"))
            std = residual_std if residual else _INIT_STD
            std = _TOKEN_STD if name == "tok_emb.weight" else std
            nn.init.normal_(parameter, std=std, generator=generator)
        elif name.endswith(".bias"):
            nn.init.zeros_(parameter)
    nn.init.constant_(module.final_norm.scale, _FINAL_NORM_SCALE)


def language_model_loss(module: GPT2Module, batch: Batch) -> Tensor:
    """The weighted mean cross-entropy of a batch, in nats per token."""
    logits = language_model_logits(module, batch.input_ids)
    losses = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="none")
    weights = batch.weights.flatten()
    return (losses * weights).sum() / weights.sum()


def pretrain(
    module: GPT2Module, stream: Iterator[Batch], steps: int
) -> Iterator[tuple[int, float]]:
    """Train for ``steps`` batches; yield (step, loss) after each."""
    decayed = [p for p in module.parameters() if p.ndim == 2]
    others = [p for p in module.parameters() if p.ndim != 2]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": _WEIGHT_DECAY},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups,
        betas=(0.9, 0.95),
        fused=True,
    )
    for step in range(steps):
        lr = _PEAK_LR * _schedule(step, steps)
        for group in optimizer.param_groups:
            group["lr"] = lr
        loss = language_model_loss(module, next(stream))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(module.parameters(), _GRADIENT_NORM)
        optimizer.step()
        yield step, loss.item()


def _schedule(step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine down to zero, as a fraction of the peak."""
    warmup = min(_WARMUP_STEPS, steps // 10 + 1)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


def save_ranks(ranks: Mapping[bytes, int], folder: Path) -> None:
    """Write one token per line, in base64 since a token may be part of a character."""
    lines = (base64.b64encode(token).decode() for token in sorted(ranks, key=ranks.__getitem__))
    (folder / RANKS_FILE).write_text("".join(f"{line}\n" for line in lines), encoding="ascii")


def save_weights(module: nn.Module, folder: Path) -> None:
    """Store the parameters of ``module`` in ``folder``, in bfloat16."""
    state = {
        name: parameter.detach().to(torch.bfloat16).contiguous()
        for name, parameter in module.named_parameters()
    }
    save_file(state, folder / WEIGHTS_FILE)


@click.command()
@click.argument("output_dir", type=click.Path(file_okay=False, path_type=Path))
@click.option("--steps", default=2000, show_default=True, type=click.IntRange(min=1))
@click.option("--batch-size", default=16, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--tokenizer-threads",
    default=6000,
    show_default=True,
    type=click.IntRange(min=1),
    help="Number of message threads to train the byte-pair encoding on.",
)
@click.option("--seed", default=1000, show_default=True, type=click.IntRange(min=0))
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1))
def main(
    output_dir: Path, steps: int, batch_size: int, tokenizer_threads: int, seed: int, threads: int
) -> None:
    """Train the tokenizer and the weights of gpt2-nano and write them to OUTPUT_DIR.

    The same seed gives the same files on the same machine and number of threads.
    """
    torch.set_num_threads(threads)
    output_dir.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()

    ranks = train_tokenizer(seed, tokenizer_threads)
    save_ranks(ranks, output_dir)
    tokenizer = NanoTokenizer(make_encoding(ranks))
    click.echo(f"{len(ranks) + 1} tokens ({time.perf_counter() - started:.0f} s)", err=True)

    module = GPT2Module(SHAPE)
    initialize(module, seed)
    stream = batches(seed + 1, tokenizer, batch_size, SHAPE.context_length)
    mean = math.nan
    for step, loss in pretrain(module, stream, steps):
        mean = loss if step == 0 else 0.98 * mean + 0.02 * loss
        if (step + 1) % 50 == 0 or step + 1 == steps:
            elapsed = time.perf_counter() - started
            click.echo(f"step {step + 1}/{steps}  loss {mean:.3f}  {elapsed:.0f} s", err=True)
    save_weights(module, output_dir)


if __name__ == "__main__":
    main()
