"""The backbone gpt2: its options, assets, sizes and tokenizer."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import tiktoken
import tiktoken.load
import torch
from hypothesis import given
from hypothesis import strategies as st

from clsbench import AssetError, HubFile, Tokenizer, UsageError
from clsbench.builtin.backbones.gpt2 import GPT2, MERGES, TOKEN_IDS, WEIGHTS
from clsbench.builtin.backbones.gpt2.module import GPT2Module, GPT2Shape, stage_of
from clsbench.builtin.backbones.gpt2.tokenizer import GPT2Tokenizer, load_tokenizer
from clsbench.builtin.backbones.gpt2_nano import GPT2Nano

# Counted from the shapes in the paper's table, without the tied output layer.
PARAMETERS = {
    "small": 124_439_808,
    "medium": 354_823_168,
    "large": 774_030_080,
    "xl": 1_557_611_200,
}
WIDTHS = {"small": 768, "medium": 1024, "large": 1280, "xl": 1600}


@pytest.fixture(scope="module")
def files(assets_dir: Path) -> dict[str, Path]:
    return {asset.key: assets_dir / asset.key for asset in (MERGES, TOKEN_IDS)}


@pytest.fixture(scope="module")
def tokenizer(files: dict[str, Path]) -> Tokenizer:
    return GPT2(weights="random").tokenizer(files)


# --- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", PARAMETERS)
def test_describe_published_sizes_draw_no_random_numbers(size: str) -> None:
    backbone = GPT2(size=size, weights="random")  # type: ignore[arg-type]
    before = torch.get_rng_state()
    described = backbone.describe()
    assert torch.equal(torch.get_rng_state(), before)
    assert sum(p.numel for p in described) == PARAMETERS[size]
    assert backbone.hidden_size() == WIDTHS[size]
    assert backbone.context_length() == 1024


def test_describe_lists_stages_and_roles_in_module_order() -> None:
    described = GPT2(weights="random").describe()
    stages = ["embeddings", *(f"block.{n}" for n in range(12)), "final_norm"]
    assert list(dict.fromkeys(p.stage for p in described)) == stages
    assert [s.name for s in GPT2Module(GPT2Shape(8, 12, 2, 4, 9)).stages()] == stages
    roles = {p.name: p.role for p in described}
    assert roles["tok_emb.weight"] == roles["pos_emb.weight"] == "embedding"
    assert roles["trf_blocks.0.norm1.shift"] == roles["final_norm.scale"] == "norm"
    assert roles["trf_blocks.11.att.W_key.bias"] == "bias"
    assert roles["trf_blocks.11.ff.layers.2.weight"] == "weight"


def test_describe_trainable_counts_equal_the_books() -> None:
    described = GPT2(weights="random").describe()
    head = 768 * 2 + 2
    by_stage = {
        s: sum(p.numel for p in described if p.stage == s) for p in described for s in [p.stage]
    }
    assert head + by_stage["final_norm"] == 3_074
    assert head + by_stage["final_norm"] + by_stage["block.11"] == 7_090_946
    assert head + by_stage["final_norm"] + by_stage["block.11"] * 2 == 14_178_818
    assert head + sum(by_stage.values()) == 124_441_346


@pytest.mark.parametrize("causal", [True, False])
def test_gpt2_module_stages_run_in_sequence_give_hidden_states(causal: bool) -> None:
    module = GPT2Module(GPT2Shape(16, 3, 2, 12, 50), causal)
    ids = torch.randint(50, (2, 9))
    context = module.prepare(ids, torch.tensor([9, 4]))
    hidden: torch.Tensor | None = None
    for stage in module.stages():
        hidden = stage.run(hidden, context)
    assert hidden is not None
    assert hidden.shape == (2, 9, 16)
    assert hidden.dtype == torch.float32
    assert module.attends_to_padding != causal
    assert {stage_of(name) for name, _ in module.named_parameters()} == {
        stage.name for stage in module.stages()
    }


# --- assets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", WEIGHTS)
def test_assets_pretrained_weights_are_pinned_and_random_need_none(size: str) -> None:
    pretrained = GPT2(size=size)  # type: ignore[arg-type]
    *tokenizer_files, weights = pretrained.assets()
    assert tuple(tokenizer_files) == pretrained.tokenizer_assets()
    assert [a.key for a in tokenizer_files] == [
        "gpt2-tokenizer/vocab.bpe",
        "gpt2-tokenizer/encoder.json",
    ]
    (source,) = weights.sources
    assert isinstance(source, HubFile)
    assert source.repository == f"openai-community/{weights.key.partition('/')[0]}"
    assert len(source.revision) == 40
    random = GPT2(size=size, weights="random")  # type: ignore[arg-type]
    assert random.assets() == random.tokenizer_assets()
    assert pretrained.user_files() == random.user_files() == ()


def test_assets_vocabulary_files_match_the_pinned_hashes(files: dict[str, Path]) -> None:
    for asset in (MERGES, TOKEN_IDS):
        content = files[asset.key].read_bytes()
        assert hashlib.sha256(content).hexdigest() == asset.sha256
        assert asset.size_bytes in (None, len(content))


@pytest.mark.parametrize("weights", ["pretrained", "random"])
@pytest.mark.parametrize("causal", [True, False])
def test_stand_in_keeps_the_options(weights: str, causal: bool) -> None:
    stand_in = GPT2(size="large", weights=weights, causal=causal).stand_in()
    assert isinstance(stand_in, GPT2Nano)
    assert (stand_in.weights, stand_in.causal) == (weights, causal)


def test_numerical_checks_of_other_weights_are_empty() -> None:
    assert GPT2(weights="random").numerical_checks({}) == ()
    assert GPT2(size="medium").numerical_checks({}) == ()


# --- the tokenizer --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def oracle(files: dict[str, Path]) -> tiktoken.Encoding:
    """tiktoken's encoding of the files, without its cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", "")
        ranks = tiktoken.load.data_gym_to_mergeable_bpe_ranks(
            str(files[MERGES.key]), str(files[TOKEN_IDS.key])
        )
    return tiktoken.Encoding(
        "oracle",
        # The pattern as OpenAI released it with GPT-2; ours is tiktoken's faster form of it.
        pat_str=r"'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+"
        r"|\s+(?!\S)|\s+",
        mergeable_ranks=ranks,
        special_tokens={"<|endoftext|>": 50256},
        explicit_n_vocab=50257,
    )


@given(
    text=st.text(max_size=60)
    | st.text(st.sampled_from(" \n\t'srelmvd<|endoftext|>09aé中😀\u200d\u00a0"), max_size=60)
)
def test_tokenizer_any_text_gives_tiktokens_ids_and_decodes(
    text: str, tokenizer: GPT2Tokenizer, oracle: tiktoken.Encoding
) -> None:
    ids = tokenizer.encode(text)
    assert ids == oracle.encode_ordinary(text)
    assert all(0 <= i < 50256 for i in ids)
    assert tokenizer.encoding.decode(ids) == text


def test_tokenizer_books_example_gives_the_books_ids(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("Do you have time") == [5211, 345, 423, 640]
    assert tokenizer.encode("") == []


def test_tokenizer_special_token_in_text_is_ordinary_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.pad_token_id == 50256
    ids = tokenizer.encode("Win <|endoftext|> now")
    assert 50256 not in ids
    assert len(ids) > 5


@pytest.mark.parametrize(
    "text",
    ["a" * 10**6, " " * 10**6, "\n" * 10**6, "😀" * 10**6, "1" * 10**6, "free prize " * 10**5,
     "<|endoftext|>" * 10**5, "'" * 10**6],
    ids=["letters", "spaces", "lines", "emoji", "digits", "words", "special", "quotes"],
)  # fmt: skip
def test_tokenizer_text_of_a_million_characters_decodes(
    text: str, tokenizer: GPT2Tokenizer
) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.encoding.decode(ids) == text


def test_tokenizer_lone_surrogate_is_encoded(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("a\ud800b")


def test_tokenizer_reads_the_given_files_and_writes_no_cache(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tiktoken's cache is keyed by path only, so it would return a file that was replaced since."""
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
    monkeypatch.setenv("TMPDIR", str(cache))
    copies = {key: tmp_path / path.name for key, path in files.items()}
    for key, path in files.items():
        copies[key].write_bytes(path.read_bytes())
    GPT2(weights="random").tokenizer(copies)
    copies[MERGES.key].write_bytes(files[MERGES.key].read_bytes().replace(b"\ne n\n", b"\n"))
    with pytest.raises(AssetError, match=r"vocab\.bpe \(50255 tokens\).*not GPT-2's 50256"):
        GPT2(weights="random").tokenizer(copies)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no merges", b"\xff\xfe", b"[1, 2]", b'{"a": 1}'])
def test_load_tokenizer_broken_vocabulary_is_named(
    content: bytes, files: dict[str, Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(content)
    for pair in ((broken, files[TOKEN_IDS.key]), (files[MERGES.key], broken)):
        with pytest.raises(AssetError, match="broken"):
            load_tokenizer(*pair)


def test_tokenizer_of_checkpoint_with_smaller_vocabulary_is_refused(
    files: dict[str, Path], tmp_path: Path
) -> None:
    from gpt2_checkpoints import MINIATURES, language_model

    language_model(MINIATURES["small"]).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="vocab_size = 211, but GPT-2's tokenizer has 50257"):
        GPT2(weights=str(tmp_path)).tokenizer(files)
