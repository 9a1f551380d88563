"""Special tokens around texts, and look-alikes in them."""

from __future__ import annotations

from typing import Any

import pytest
from clsbench_transformers.tokenizer import ModelTokenizer
from miniatures import byte_pairs, sentence_pieces, word_pieces


def test_encode_adds_the_models_special_tokens_and_names_the_ending() -> None:
    tokenizer = ModelTokenizer(word_pieces(), 300)
    ids = tokenizer.encode("hello")
    assert (ids[0], ids[-1], len(ids)) == (2, 3, 7)
    assert tokenizer.encode("") == [2, 3]
    assert tokenizer.ending == (3,)
    assert tokenizer.pad_token_id == 0


def test_encode_decoder_without_padding_adds_nothing() -> None:
    tokenizer = ModelTokenizer(byte_pairs(), 300)
    assert tokenizer.encode("") == []
    assert tokenizer.ending == ()
    assert tokenizer.encode("<|endoftext|>") == tokenizer.encode("<|endoftext|>x")[:-1]
    eos = byte_pairs().eos_token_id
    assert tokenizer.pad_token_id == eos
    assert eos not in tokenizer.encode("<|endoftext|> <|im_start|>")


@pytest.mark.parametrize("made", [word_pieces, byte_pairs, sentence_pieces])
def test_encode_names_of_special_tokens_are_ordinary_text(made: Any) -> None:
    own = made()
    tokenizer = ModelTokenizer(own, 300)
    special = set(own.all_special_ids) - {own.unk_token_id}
    behind = len(tokenizer.ending)
    before = len(tokenizer.encode("")) - behind
    names = own.convert_ids_to_tokens(sorted(special))
    for text in (*names, "a" + names[0] * 3 + "b"):
        ids = tokenizer.encode(text)
        content = ids[before : len(ids) - behind]
        assert len(content) > 1
        assert not special & set(content)
    assert own(names[0], add_special_tokens=False).input_ids[-1] in special


def test_encode_vocabulary_with_special_names_cuts_them_only() -> None:
    tokenizer = ModelTokenizer(sentence_pieces(), 300)
    plain = sentence_pieces()
    assert tokenizer.encode("a b") == plain("a b").input_ids
    assert tokenizer.encode("</s>")[1:-1].count(plain.eos_token_id) == 0


@pytest.mark.parametrize("text", ["\ud800 lone", "\x00", "naïve 🙂", "x" * 10_000])
@pytest.mark.parametrize("made", [word_pieces, byte_pairs, sentence_pieces])
def test_encode_any_text_is_accepted(made: Any, text: str) -> None:
    assert all(isinstance(each, int) for each in ModelTokenizer(made(), 300).encode(text))


def test_largest_id_special_tokens_beyond_the_model_do_not_count() -> None:
    own = byte_pairs()
    own.add_special_tokens({"pad_token": "<|image|>"})
    tokenizer = ModelTokenizer(own, 260)
    assert own.pad_token_id == 260
    assert tokenizer.largest_id() == 259
    assert tokenizer.pad_token_id == own.eos_token_id
