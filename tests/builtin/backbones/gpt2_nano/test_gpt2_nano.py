"""The stand-in backbone: its size, files, weights and tokenizer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from tools.stand_ins.grammar import Messenger
from tools.stand_ins.pretrain import language_model_loss
from tools.stand_ins.stream import batches

import clsbench
from clsbench.builtin.backbones import gpt2_nano
from clsbench.builtin.backbones.gpt2.module import GPT2Module, language_model_logits
from clsbench.builtin.backbones.gpt2_nano import GPT2Nano, clsbench_register_backbones
from clsbench.builtin.backbones.gpt2_nano.shape import SHAPE
from clsbench.builtin.backbones.gpt2_nano.storage import WEIGHTS_FILE
from clsbench.builtin.backbones.gpt2_nano.tokenizer import PAD_TOKEN, NanoTokenizer, load_tokenizer
from clsbench.builtin.datasets import synthetic_sms
from clsbench.builtin.datasets.synthetic_sms import SyntheticSms

FRESH_SEED = 77
PACKAGE = Path(gpt2_nano.__file__).parent


@pytest.fixture(scope="module")
def tokenizer() -> NanoTokenizer:
    return load_tokenizer(PACKAGE)


@pytest.fixture(scope="module")
def pretrained() -> GPT2Module:
    module = GPT2Nano().build({})
    assert isinstance(module, GPT2Module)
    return module


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_gpt2_nano_is_registered_and_needs_no_assets() -> None:
    assert clsbench_register_backbones() == {"gpt2-nano": GPT2Nano}
    assert GPT2Nano().assets() == ()
    assert GPT2Nano().stand_in() is None


def test_gpt2_nano_has_at_most_a_million_parameters(pretrained: GPT2Module) -> None:
    described = GPT2Nano().describe()
    assert sum(p.numel for p in described) <= 1_000_000
    assert [(p.name, p.shape) for p in described] == [
        (name, tuple(p.shape)) for name, p in pretrained.named_parameters()
    ]
    assert len({p.stage for p in described if p.stage.startswith("block.")}) >= 4


def test_gpt2_nano_sizes_match_the_built_module(
    pretrained: GPT2Module, tokenizer: NanoTokenizer
) -> None:
    assert pretrained.hidden_size == GPT2Nano().hidden_size()
    assert pretrained.context_length == GPT2Nano().context_length() == 128
    assert tokenizer.encoding.n_vocab == SHAPE.vocabulary_size
    assert 1000 <= SHAPE.vocabulary_size <= 2000
    assert tokenizer.pad_token_id == SHAPE.vocabulary_size - 1
    assert not GPT2Nano(causal=False).build({}).causal
    assert all(p.dtype == torch.float32 for p in pretrained.parameters())


def test_gpt2_nano_files_are_small_and_in_bfloat16() -> None:
    folders = (PACKAGE, Path(synthetic_sms.__file__).parent)
    sizes = [f.stat().st_size for folder in folders for f in folder.iterdir() if f.is_file()]
    assert sum(sizes) < 2_500_000
    with safe_open(PACKAGE / WEIGHTS_FILE, "pt") as weights:
        assert {weights.get_slice(key).get_dtype() for key in weights.keys()} == {"BF16"}  # noqa: SIM118


def test_gpt2_nano_random_weights_follow_the_global_generator(pretrained: GPT2Module) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        one = GPT2Nano(weights="random").build({})
        torch.manual_seed(1)
        two = GPT2Nano(weights="random").build({})
    for left, right in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(left, right)
    assert not torch.equal(one.get_parameter("tok_emb.weight"), pretrained.tok_emb.weight)


@given(text=st.text())
def test_nano_tokenizer_any_text_survives_a_round_trip(tokenizer: NanoTokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.encoding.decode(ids) == text
    assert tokenizer.pad_token_id not in ids
    assert all(0 <= token < SHAPE.vocabulary_size for token in ids)


@pytest.mark.parametrize(
    "text",
    [PAD_TOKEN, f"win {PAD_TOKEN}{PAD_TOKEN} now", "<|endoftext", "\ud800", "\x00", " " * 9, ""],
)
def test_nano_tokenizer_unusual_texts_are_encoded(tokenizer: NanoTokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.pad_token_id not in ids
    if text.isprintable():
        assert tokenizer.encoding.decode(ids) == text


@pytest.mark.parametrize("character", ["a", " ", "1", "!", "é", "\n"])
@pytest.mark.timeout(60)
def test_nano_tokenizer_a_million_characters_are_encoded(
    tokenizer: NanoTokenizer, character: str
) -> None:
    assert tokenizer.encode(character * 1_000_000)


def test_nano_tokenizer_synthetic_corpus_fits_the_context(tokenizer: NanoTokenizer) -> None:
    texts = SyntheticSms().load({}).texts
    longest = max(len(tokenizer.encode(text)) for text in texts)
    assert 90 < longest <= SHAPE.context_length


def test_gpt2_nano_pretrained_loss_is_lower_than_random(
    tokenizer: NanoTokenizer, pretrained: GPT2Module, one_thread: None
) -> None:
    batch = next(batches(FRESH_SEED, tokenizer, 16, SHAPE.context_length))
    with torch.no_grad(), torch.random.fork_rng():
        known = language_model_loss(pretrained, batch).item()
        torch.manual_seed(1)
        random_loss = language_model_loss(GPT2Module(SHAPE), batch).item()
    uniform = torch.tensor(float(SHAPE.vocabulary_size)).log().item()
    assert known < 0.45 * uniform
    assert random_loss > 0.9 * uniform


def test_gpt2_nano_padding_positions_predict_the_reply(
    tokenizer: NanoTokenizer, pretrained: GPT2Module, one_thread: None
) -> None:
    """After a long run of padding, the model still predicts the reply to the first message."""
    threads = list(islice(Messenger(FRESH_SEED).threads(), 40))
    pad = tokenizer.pad_token_id
    rows = [(tokenizer.encode(thread[0]) + [pad] * 120)[:120] for thread in threads]
    with torch.no_grad():
        scores = language_model_logits(pretrained, torch.tensor(rows))[:, -1].log_softmax(-1)
    following = [tokenizer.encode(" " + thread[1]) for thread in threads]
    # (40, 40): how well the padding after one thread predicts the words of each reply.
    fit = torch.stack([scores[:, words].mean(1) for words in following], dim=1)
    own = fit.diagonal()
    others = (fit.sum(1) - own) / (len(threads) - 1)
    assert (own > others).float().mean() > 0.75


def test_gpt2_nano_options_import_no_torch() -> None:
    code = (
        "import sys\n"
        "from clsbench.builtin.backbones.gpt2_nano import GPT2Nano\n"
        "GPT2Nano().context_length()\n"
        "print([m for m in ('numpy', 'pandas', 'tiktoken', 'torch') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_gpt2_nano_is_the_stand_in_of_gpt2() -> None:
    from clsbench.builtin.backbones.gpt2 import GPT2

    assert GPT2().stand_in() == GPT2Nano()
    assert isinstance(GPT2(weights="random", causal=False).stand_in(), clsbench.Backbone)
