"""Real pretrained models: an encoder as a folder and a decoder as a GGUF file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from clsbench_transformers import HF
from real_models import minilm, smollm2
from transformers import AutoModel, AutoTokenizer

import clsbench
from clsbench import testing
from clsbench.data import TextEncoder, TextPair
from clsbench.testing.tokenizers import check_tokenizer

TEXTS = ("Do you have time", "You are a winner you have been specially selected", "ok", "[SEP] x")


def states(backbone: HF, texts: tuple[str, ...]) -> list[torch.Tensor]:
    """The hidden states (length, H) of the texts, in one packed batch."""
    tokenizer = backbone.tokenizer({})
    return states_of(backbone, [tokenizer.encode(text) for text in texts])


def states_of(backbone: HF, rows: list[list[int]]) -> list[torch.Tensor]:
    module: Any = backbone.build({}).eval()
    packing = clsbench.Packing.of([len(row) for row in rows])
    context = module.prepare_packed(torch.tensor([n for row in rows for n in row]), packing)
    hidden = None
    with torch.no_grad():
        for stage in module.stages():
            hidden = stage.run(hidden, context)
    return list(packing.split(hidden))


def test_minilm_conforms() -> None:
    testing.check_backbone(HF(model=str(minilm())))


def test_minilm_hidden_states_of_pairs_equal_those_of_transformers() -> None:
    backbone = HF(model=str(minilm()))
    model, tokenizer = (kind.from_pretrained(minilm()) for kind in (AutoModel, AutoTokenizer))
    pairs = [TextPair("A man sleeps.", "A person rests."), TextPair("word " * 90, "few words")]
    encoder = TextEncoder(backbone.tokenizer({}), None)
    rows = [encoder.truncated(encoder.encode(pair), 17) for pair in pairs]
    for pair, row, found in zip(pairs, rows, states_of(backbone, rows), strict=True):
        given = tokenizer(*pair, truncation="longest_first", max_length=17, return_tensors="pt")
        assert given["input_ids"][0].tolist() == row
        assert set(given["token_type_ids"][0].tolist()) == {0, 1}
        with torch.no_grad():
            expected = model.eval()(**given).last_hidden_state[0]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_minilm_hidden_states_equal_those_of_transformers() -> None:
    model, tokenizer = (kind.from_pretrained(minilm()) for kind in (AutoModel, AutoTokenizer))
    found = states(HF(model=str(minilm())), TEXTS[:3])
    for text, ours in zip(TEXTS, found, strict=False):
        with torch.no_grad():
            own = model.eval()(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        torch.testing.assert_close(ours, own, rtol=0, atol=1e-5)


def test_minilm_look_alikes_are_ordinary_text() -> None:
    tokenizer = HF(model=str(minilm())).tokenizer({})
    cls, *content, sep = tokenizer.encode("[SEP] [PAD] [CLS]")
    assert (cls, sep) == (101, 102)
    assert not {0, 101, 102} & set(content)


def test_smollm2_is_converted_once_and_equals_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The miniature of its family is checked in full; here, what depends on the file."""
    monkeypatch.setenv("CLSBENCH_CACHE", str(tmp_path / "cache"))
    file = smollm2()
    backbone = HF(gguf=str(file))
    check_tokenizer(backbone, backbone.tokenizer({}))
    found = states(backbone, TEXTS)
    written = capfd.readouterr()
    assert not written.out
    assert "it/s" not in written.err
    built = {name: tuple(p.shape) for name, p in backbone.build({}).named_parameters()}
    assert {info.name: tuple(info.shape) for info in backbone.describe()} == built
    converted = clsbench.cache_folder() / "converted"
    assert len(list(converted.iterdir())) == 2  # config and tokenizer, and the weights
    before = {path: path.stat().st_mtime_ns for path in converted.rglob("*") if path.is_file()}
    moved = HF(gguf=str(shutil.copy(file, tmp_path / "other-name.gguf")))
    again = states(moved, TEXTS)
    after = {path: path.stat().st_mtime_ns for path in converted.rglob("*") if path.is_file()}
    assert before == after
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model = AutoModel.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).eval()
    for text, ours, same in zip(TEXTS, found, again, strict=True):
        with torch.no_grad():
            own = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        assert torch.equal(ours, same)
        torch.testing.assert_close(ours, own, rtol=1e-5, atol=1e-4)
