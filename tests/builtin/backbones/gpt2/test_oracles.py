"""GPT-2 computes what transformers, the book and a plain formula compute."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from fast_and_plain import IN_FLOAT32
from gpt2_checkpoints import MINIATURES, hub_tensors, language_model, some_ids
from safetensors.torch import save_file
from torch import Tensor

from clsbench.builtin.backbones.gpt2 import GPT2
from clsbench.builtin.backbones.gpt2.checkpoint import load
from clsbench.builtin.backbones.gpt2.module import GPT2Module, hidden_states, language_model_logits
from clsbench.builtin.backbones.gpt2.shape import SHAPES, GPT2Shape


def assert_equal_parameters(ours: GPT2Module, theirs: GPT2Module) -> None:
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        assert torch.equal(parameter, expected.pop(name)), name
    assert not expected


# --- transformers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", MINIATURES)
def test_gpt2_hidden_states_and_logits_equal_transformers(
    size: str, tmp_path: Path, device: torch.device
) -> None:
    shape = MINIATURES[size]
    oracle = language_model(shape)
    oracle.save_pretrained(tmp_path)
    ids = some_ids(shape).to(device)
    oracle = oracle.to(device)
    ours = GPT2(weights=str(tmp_path)).build({}).to(device)
    assert isinstance(ours, GPT2Module)
    atol = IN_FLOAT32[device.type]
    with torch.no_grad():
        hidden = oracle.transformer(ids).last_hidden_state
        logits = oracle(ids).logits
        torch.testing.assert_close(hidden_states(ours, ids), hidden, rtol=0, atol=atol)
        torch.testing.assert_close(language_model_logits(ours, ids), logits, rtol=0, atol=atol)


@pytest.mark.parametrize("size", MINIATURES)
def test_load_hub_layout_equals_saved_layout(size: str, tmp_path: Path) -> None:
    shape = MINIATURES[size]
    oracle = language_model(shape)
    oracle.save_pretrained(tmp_path / "saved")
    save_file(hub_tensors(oracle), tmp_path / "hub.safetensors")
    assert_equal_parameters(
        load(tmp_path / "hub.safetensors", shape, causal=True),
        load(tmp_path / "saved", shape, causal=True),
    )


def test_load_shards_equal_a_single_file(tmp_path: Path) -> None:
    shape = MINIATURES["large"]
    oracle = language_model(shape)
    oracle.save_pretrained(tmp_path / "whole")
    oracle.save_pretrained(tmp_path / "shards", max_shard_size="100KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    backbone = GPT2(weights=str(tmp_path / "shards"))
    assert len(backbone.user_files()) > 3
    assert_equal_parameters(
        load(tmp_path / "shards", shape, causal=True), load(tmp_path / "whole", shape, causal=True)
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_load_other_float_dtypes_become_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    shape = MINIATURES["small"]
    oracle = language_model(shape).to(dtype)
    oracle.save_pretrained(tmp_path / "saved")
    oracle.float().save_pretrained(tmp_path / "float32")
    ours = load(tmp_path / "saved", shape, causal=True)
    assert {p.dtype for p in ours.parameters()} == {torch.float32}
    assert_equal_parameters(ours, load(tmp_path / "float32", shape, causal=True))


@pytest.mark.parametrize("name", ["GPT2Model", "GPT2ForSequenceClassification"])
def test_load_checkpoints_of_other_classes_give_their_backbone(name: str, tmp_path: Path) -> None:
    import transformers

    shape = MINIATURES["small"]
    oracle = language_model(shape)
    oracle.save_pretrained(tmp_path / "language model")
    other = getattr(transformers, name)(oracle.config)
    getattr(other, "transformer", other).load_state_dict(oracle.transformer.state_dict())
    other.save_pretrained(tmp_path / "other")
    assert_equal_parameters(
        load(tmp_path / "other", shape, causal=True),
        load(tmp_path / "language model", shape, causal=True),
    )


def test_load_draws_no_random_numbers_and_closes_the_file(tmp_path: Path) -> None:
    shape = MINIATURES["small"]
    language_model(shape).save_pretrained(tmp_path)
    before = torch.get_rng_state()
    module = load(tmp_path, shape, causal=True)
    assert torch.equal(torch.get_rng_state(), before)
    kept = {name: p.detach().clone() for name, p in module.named_parameters()}
    file = tmp_path / "model.safetensors"
    file.write_bytes(bytes(file.stat().st_size))
    for name, parameter in module.named_parameters():
        assert parameter.requires_grad
        assert parameter.is_contiguous()
        assert torch.equal(parameter, kept[name])


@pytest.mark.slow
def test_load_single_file_of_gpt2_small_equals_transformers(tmp_path: Path) -> None:
    shape = SHAPES["small"]
    oracle = language_model(shape).bfloat16()
    save_file(hub_tensors(oracle), tmp_path / "any name.safetensors")
    oracle.float()
    ids = some_ids(shape, texts=1, length=50)
    with torch.no_grad():
        expected = oracle.transformer(ids).last_hidden_state
    del oracle
    ours = GPT2(weights=str(tmp_path / "any name.safetensors")).build({})
    assert isinstance(ours, GPT2Module)
    with torch.no_grad():
        # Some of these weights are five times larger than GPT-2's, and so are rounding errors.
        torch.testing.assert_close(hidden_states(ours, ids), expected, rtol=1e-5, atol=1e-4)


# --- the book -------------------------------------------------------------------------------------


def books_model(shape: GPT2Shape) -> Any:
    ch04 = pytest.importorskip(
        "llms_from_scratch.ch04",
        reason="the peer is absent: pip install --no-deps llms-from-scratch==1.0.19",
    )
    torch.manual_seed(123)
    return ch04.GPTModel(
        {
            "vocab_size": shape.vocabulary_size,
            "context_length": shape.context_length,
            "emb_dim": shape.width,
            "n_heads": shape.attention_heads,
            "n_layers": shape.blocks,
            "drop_rate": 0.0,
            "qkv_bias": True,
        }
    )


def assert_equal_to_the_book(ours: GPT2Module, peer: Any, ids: Tensor) -> None:
    del peer.out_head  # drawn last, and replaced by the classifier's
    expected = dict(peer.named_parameters())
    for name, parameter in ours.named_parameters():
        assert torch.equal(parameter, expected.pop(name)), name
    assert not expected
    peer.out_head = torch.nn.Identity()
    with torch.no_grad():
        torch.testing.assert_close(hidden_states(ours, ids), peer(ids), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", MINIATURES)
def test_gpt2_module_seeded_weights_equal_the_books_bit_for_bit(size: str) -> None:
    peer = books_model(MINIATURES[size])
    torch.manual_seed(123)
    ours = GPT2Module(MINIATURES[size])
    assert_equal_to_the_book(ours, peer, some_ids(MINIATURES[size]))


@pytest.mark.slow
def test_gpt2_small_seeded_weights_equal_the_books_bit_for_bit() -> None:
    peer = books_model(SHAPES["small"])
    torch.manual_seed(123)
    ours = GPT2(weights="random").build({})
    assert isinstance(ours, GPT2Module)
    assert_equal_to_the_book(ours, peer, some_ids(SHAPES["small"], texts=2, length=60))


# --- a plain formula ------------------------------------------------------------------------------


def plain_hidden_states(module: GPT2Module, ids: Tensor, heads: int, causal: bool) -> Tensor:
    """GPT-2's hidden states from a state dict and elementary operations; (B, T, H)."""
    w = module.state_dict()

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        deviation = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return centred / deviation * w[f"{name}.scale"] + w[f"{name}.shift"]

    x = w["tok_emb.weight"][ids] + w["pos_emb.weight"][: ids.shape[1]]
    for block in (f"trf_blocks.{n}" for n in range(len(module.trf_blocks))):
        h = norm(f"{block}.norm1", x)
        q, k, v = (
            linear(f"{block}.att.W_{part}", h).chunk(heads, -1)
            for part in ("query", "key", "value")
        )
        mixed = []
        for one_q, one_k, one_v in zip(q, k, v, strict=True):
            scores = one_q @ one_k.mT / math.sqrt(one_q.shape[-1])
            if causal:
                scores = scores + torch.full_like(scores, -torch.inf).triu(1)
            weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
            mixed.append(weights @ one_v)
        x = x + linear(f"{block}.att.out_proj", torch.cat(mixed, -1))
        h = linear(f"{block}.ff.layers.0", norm(f"{block}.norm2", x))
        h = h / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
        x = x + linear(f"{block}.ff.layers.2", h)
    return norm("final_norm", x)


@pytest.mark.parametrize("causal", [True, False])
def test_gpt2_hidden_states_equal_the_plain_formula(causal: bool) -> None:
    shape = MINIATURES["medium"]
    torch.manual_seed(5)
    module = GPT2Module(shape, causal).double()
    ids = some_ids(shape)
    with torch.no_grad():
        expected = plain_hidden_states(module, ids, shape.attention_heads, causal)
        torch.testing.assert_close(hidden_states(module, ids), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("causal", [True, False])
def test_gpt2_early_positions_see_later_tokens_only_without_mask(causal: bool) -> None:
    shape = MINIATURES["small"]
    torch.manual_seed(5)
    module = GPT2Module(shape, causal)
    ids = some_ids(shape)
    changed = ids.clone()
    changed[:, -1] = (ids[:, -1] + 1) % shape.vocabulary_size
    with torch.no_grad():
        before, after = hidden_states(module, ids), hidden_states(module, changed)
    assert torch.allclose(before[:, :-1], after[:, :-1], atol=1e-7) == causal
    assert not torch.allclose(before[:, -1], after[:, -1], atol=1e-3)
    assert module.attends_to_padding != causal
