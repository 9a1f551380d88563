"""The contract of a backbone's tokenizer."""

from __future__ import annotations

import re

from clsbench.components.axes import Backbone
from clsbench.components.tokenizers import EndingTokenizer, PairTokenizer, Tokenizer
from clsbench.components.values import TextPair
from clsbench.data.encoding import TextEncoder
from clsbench.errors import ClsbenchError
from clsbench.testing.promises import require

TEXTS = ("Do you have time", "", "You are a winner", "1", "<|endoftext|> \U0001f600 naïve \x00\n")
MOST_TOKENS = 12
LOOK_ALIKES = (
    *("<|endoftext|>", "<|im_start|>", "<|padding|>", "<|begin_of_text|>"),
    *("[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]"),
    *("<s>", "</s>", "<pad>", "<mask>", "<unk>", "<bos>", "<eos>"),
)
"""Names of special tokens, which must be treated as ordinary text."""


def check_tokenizer(backbone: Backbone, tokenizer: Tokenizer) -> list[list[int]]:
    """Check the tokenizer of a backbone; return the ids of a few texts.

    Raises:
        AssertionError: the contract is broken.
    """
    pad = tokenizer.pad_token_id
    require(isinstance(pad, int) and pad >= 0, backbone, f"pad_token_id is {pad!r}")
    rows = []
    for text in TEXTS:
        try:
            ids = tokenizer.encode(text)
        except Exception as error:
            raise AssertionError(
                f"{backbone!r}: its tokenizer fails on {text!r}: {error}; it must take any text"
            ) from error
        require(
            isinstance(ids, list) and all(isinstance(i, int) and i >= 0 for i in ids),
            backbone,
            f"encode({text!r}) returns {ids!r}, expected a list of token ids",
        )
        require(ids == tokenizer.encode(text), backbone, f"encode({text!r}) differs when repeated")
        if isinstance(tokenizer, EndingTokenizer):
            ending = list(tokenizer.ending)
            require(
                ids[len(ids) - len(ending) :] == ending,
                backbone,
                f"encode({text!r}) returns {ids}, which does not end with its tokenizer's ending, "
                f"{ending}",
            )
        rows.append(ids[: min(MOST_TOKENS, backbone.context_length())])
    rows += _check_pairs(backbone, tokenizer)
    require(rows[0] != rows[2], backbone, "its tokenizer gives different texts the same ids")
    for text in LOOK_ALIKES:
        require(
            not _is_special(tokenizer, text),
            backbone,
            f"its tokenizer reads {text!r} in a text as a special token (encode returns "
            f"{tokenizer.encode(text)}), expected ordinary text (transformers: "
            "split_special_tokens=True)",
        )
    return rows


def _check_pairs(backbone: Backbone, tokenizer: Tokenizer) -> list[list[int]]:
    """The ids of a short pair, if the tokenizer can encode one; no text contains the separator."""
    try:
        encoded = TextEncoder(tokenizer, None).encode(TextPair("a", "b"))
    except ClsbenchError:  # a run on pairs reports it
        return []
    between = set(tokenizer.between) if isinstance(tokenizer, PairTokenizer) else set()
    around = sum(each in between for each in tokenizer.encode(""))
    for text in (*TEXTS, *LOOK_ALIKES):
        ids = tokenizer.encode(text)
        require(
            sum(each in between for each in ids) == around,
            backbone,
            f"encode({text!r}) returns {ids}, which has ids of its tokenizer's between, "
            f"{sorted(between)}, in the text",
        )
    return [encoded.ids[: backbone.context_length()]]


def _is_special(tokenizer: Tokenizer, text: str) -> bool:
    """Whether ``text`` becomes one id, the padding id or nothing, while a text of the same form
    with other letters does not."""

    def added(word: str) -> int:
        """How many ids one more ``word`` in a row adds."""
        return len(tokenizer.encode(word * 3)) - len(tokenizer.encode(word * 2))

    other = re.sub("[a-z]", "q", re.sub("[A-Z]", "Q", text))
    ids, other_ids = tokenizer.encode(text), tokenizer.encode(other)
    if tokenizer.pad_token_id in set(ids) - set(other_ids):
        return True
    if added(text) <= 1 < added(other):
        return True
    # A word tokenizer has one id for either; it may drop the characters around the word.
    ordinary = {*other_ids, *tokenizer.encode(text.strip("<>[]|/"))}
    return len(ids) == 1 and ids[0] not in ordinary
