"""The other implementations: the book's own code (``llms-from-scratch``), and Hugging Face."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from clsbench.bench.stopwatch import synchronise
from clsbench.fastpath.forward import autocast
from workload import Lora, Setting, Workload

try:
    from llms_from_scratch import appendix_e, ch04, ch06
except ModuleNotFoundError as error:
    raise SystemExit(
        "the book's code is not here: pip install --no-deps llms-from-scratch==1.0.19"
    ) from error

CPU = torch.device("cpu")
_NO_TOKEN = -1


def make_book_model(workload: Workload, seed: int) -> nn.Module:
    """The book's classifier with random weights, frozen according to the setting.

    LoRA is that of appendix E, which adds alpha · (x A B) without dividing by the rank.
    """
    setting, backbone = workload.setting, workload.experiment.backbone
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)  # always drawn, as on our side
    torch.manual_seed(seed)
    model: nn.Module = ch04.GPTModel(_book_config(workload))
    _freeze(model, list(model.trf_blocks), model.final_norm, setting)
    torch.manual_seed(seed)
    model.out_head = nn.Linear(backbone.hidden_size(), len(workload.data.facts.class_names))
    if setting.lora:
        appendix_e.replace_linear_with_lora(model, Lora().rank, Lora().alpha)
    torch.set_default_dtype(default)
    return model.train()


def make_fast_book_model(workload: Workload, seed: int) -> nn.Module:
    """The book's ``GPTModelFast`` (fused attention, norms and GELU) with the same weights and
    freezing.

    Without LoRA, which would change other layers here.
    """
    setting, plain = workload.setting, make_book_model(workload, seed)
    assert not setting.lora
    model: nn.Module = ch04.GPTModelFast(_book_config(workload))
    model.out_head = plain.out_head
    for name in ("tok_emb", "pos_emb"):
        setattr(model, name, getattr(plain, name))
    _fill_norm(model.final_norm, plain.final_norm)
    for block, source in zip(model.trf_blocks, plain.trf_blocks, strict=True):
        projections = (source.att.W_query, source.att.W_key, source.att.W_value)
        with torch.no_grad():
            block.att.qkv.weight.copy_(torch.cat([layer.weight for layer in projections]))
            block.att.qkv.bias.copy_(torch.cat([layer.bias for layer in projections]))
        block.att.proj = source.att.out_proj
        for place in (0, 2):
            block.ff.layers[place] = source.ff.layers[place]
        _fill_norm(block.norm1, source.norm1)
        _fill_norm(block.norm2, source.norm2)
    _freeze(model, list(model.trf_blocks), model.final_norm, setting)
    model.out_head.requires_grad_(True)
    return model.train()


def _fill_norm(norm: nn.LayerNorm, source: nn.Module) -> None:
    with torch.no_grad():
        norm.weight.copy_(source.scale)
        norm.bias.copy_(source.shift)


def _book_config(workload: Workload) -> dict[str, Any]:
    backbone = workload.experiment.backbone
    shape = backbone.skeleton()
    return {
        "vocab_size": shape.tok_emb.num_embeddings,
        "context_length": backbone.context_length(),
        "emb_dim": backbone.hidden_size(),
        "n_heads": shape.trf_blocks[0].att.attention_heads,
        "n_layers": len(shape.trf_blocks),
        "drop_rate": 0.0,
        "qkv_bias": True,
    }


class BookSide:
    """The book's classifier, its loaders and its optimizer; a call is one batch of 8 texts.

    ``make`` creates the model: the book's usual one, or its faster variant.
    """

    def __init__(
        self,
        workload: Workload,
        folder: Path,
        seed: int,
        dtype: torch.dtype = torch.float32,
        make: Callable[[Workload, int], nn.Module] = make_book_model,
    ) -> None:
        self.device, self._precision = workload.device, workload.options.precision
        self.model = make(workload, seed).to(self.device, dtype)
        self.loaders = book_loaders(workload, folder)
        self._loss: Callable[..., Tensor] = ch06.calc_loss_batch
        if workload.setting.real_token:
            self._loss = _loss_at_the_last_real_token
        settings = workload.experiment.spec.train
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
        )
        first = DataLoader(
            self.loaders["train"].dataset,
            batch_size=settings.batch_size,
            sampler=[index for batch in workload.train_indices for index in batch],
        )
        self._count = len(workload.batches)
        self._batches: Iterator[Any] = itertools.chain.from_iterable(itertools.repeat(first))
        self._looked_at = itertools.chain.from_iterable(
            itertools.repeat(self.loaders["validation"])
        )

    def step(self) -> float:
        """Run one training step as in ``train_classifier_simple``; return its loss."""
        return self._train().item()

    def steps(self) -> None:
        """Run a training step on each batch of the workload; wait for the device at the end."""
        for _ in range(self._count):
            self._train()
        synchronise(self.device)

    def evaluation_batch(self) -> float:
        """The loss of one batch as in ``evaluate_model``."""
        self.model.eval()
        with torch.no_grad():
            input_batch, target_batch = next(self._looked_at)
            return self._loss_of(input_batch, target_batch).item()

    def _train(self) -> Tensor:
        self.model.train()
        input_batch, target_batch = next(self._batches)
        self.optimizer.zero_grad()
        loss = self._loss_of(input_batch, target_batch)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _loss_of(self, input_batch: Tensor, target_batch: Tensor) -> Tensor:
        with autocast(self.device, self._precision):
            return self._loss(input_batch, target_batch, self.model, self.device)


class HuggingFaceSide:
    """``GPT2ForSequenceClassification`` with the same weights and freezing.

    Attention and AdamW are fused, as in its own trainer.
    """

    def __init__(self, workload: Workload, seed: int) -> None:
        from transformers import GPT2Config, GPT2ForSequenceClassification
        from transformers.utils import logging

        logging.set_verbosity_error()  # it warns of the missing mask
        backbone = workload.experiment.backbone
        shape = backbone.skeleton()
        config = GPT2Config(
            vocab_size=shape.tok_emb.num_embeddings,
            n_positions=backbone.context_length(),
            n_embd=backbone.hidden_size(),
            n_layer=len(shape.trf_blocks),
            n_head=shape.trf_blocks[0].att.attention_heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            num_labels=len(workload.data.facts.class_names),
            use_cache=False,
            attn_implementation="sdpa",
        )
        self.model = GPT2ForSequenceClassification(config).train()
        # It reads the last token that is not padding. In the book, padding is ordinary text.
        self.model.config.pad_token_id = _NO_TOKEN
        transformer = self.model.transformer
        _fill_hugging_face(self.model, make_book_model(workload, seed))
        _freeze(self.model, list(transformer.h), transformer.ln_f, workload.setting)
        self.model.score.requires_grad_(True)
        settings = workload.experiment.spec.train
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            trained, lr=settings.lr, weight_decay=settings.weight_decay, fused=True
        )
        rows = workload.rows["train"]
        self._batches = itertools.cycle([rows.batch(event.indices) for event in workload.batches])

    def step(self) -> float:
        """Run one training step; return its loss."""
        batch = next(self._batches)
        self._optimizer.zero_grad()
        loss = self.model(input_ids=batch.input_ids, labels=batch.labels).loss
        loss.backward()
        self._optimizer.step()
        return loss.item()


def _fill_hugging_face(model: Any, book: Any) -> None:
    """The book's weights under Hugging Face's names; its head has no bias, so the whole head is
    replaced."""
    transformer = model.transformer
    with torch.no_grad():
        transformer.wte.weight.copy_(book.tok_emb.weight)
        transformer.wpe.weight.copy_(book.pos_emb.weight)
        for block, source in zip(transformer.h, book.trf_blocks, strict=True):
            attention, mlp = source.att, source.ff.layers
            _fill_transposed(
                block.attn.c_attn, attention.W_query, attention.W_key, attention.W_value
            )
            _fill_transposed(block.attn.c_proj, attention.out_proj)
            _fill_transposed(block.mlp.c_fc, mlp[0])
            _fill_transposed(block.mlp.c_proj, mlp[2])
            _fill_norm(block.ln_1, source.norm1)
            _fill_norm(block.ln_2, source.norm2)
    _fill_norm(transformer.ln_f, book.final_norm)
    model.score = book.out_head


def _fill_transposed(layer: Any, *sources: nn.Linear) -> None:
    layer.weight.copy_(torch.cat([source.weight for source in sources]).T)
    layer.bias.copy_(torch.cat([source.bias for source in sources]))


def book_loaders(workload: Workload, folder: Path) -> dict[str, Any]:
    """The book's loaders over its own data sets, which it reads from files."""
    corpus = workload.files.files["sms-spam/SMSSpamCollection"]
    frame = pd.read_csv(corpus, sep="\t", header=None, names=["Label", "Text"])
    balanced = ch06.create_balanced_dataset(frame)
    balanced["Label"] = balanced["Label"].map({"ham": 0, "spam": 1})
    tokenizer = workload.experiment.backbone.tokenizer(workload.files.files)
    batch_size = workload.experiment.spec.train.batch_size
    loaders: dict[str, Any] = {}
    width = None
    for name, part in zip(
        ("train", "validation", "test"), ch06.random_split(balanced, 0.7, 0.1), strict=True
    ):
        part.to_csv(folder / f"{name}.csv", index=None)
        dataset = ch06.SpamDataset(folder / f"{name}.csv", tokenizer, max_length=width)
        width = dataset.max_length
        training = name == "train"
        loaders[name] = DataLoader(dataset, batch_size, shuffle=training, drop_last=training)
    return loaders


def _loss_at_the_last_real_token(
    input_batch: Tensor, target_batch: Tensor, model: nn.Module, device: torch.device
) -> Tensor:
    """The head of the book's bonus experiments: it processes all positions and keeps one."""
    input_batch, target_batch = input_batch.to(device), target_batch.to(device)
    last = (input_batch != 50256).sum(dim=1) - 1
    logits = model(input_batch)
    return F.cross_entropy(logits[torch.arange(len(logits)), last], target_batch)


def _freeze(
    model: nn.Module, blocks: list[nn.Module], final_norm: nn.Module, setting: Setting
) -> None:
    """Train the top ``setting.blocks`` blocks and, with any of them, the final norm."""
    everything = setting.blocks is None
    model.requires_grad_(everything)
    if setting.blocks:
        for module in (*blocks[-setting.blocks :], final_norm):
            module.requires_grad_(True)
