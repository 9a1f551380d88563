from __future__ import annotations

from itertools import islice
from pathlib import Path

from tools.stand_ins.stream import windows

from clsbench.builtin.backbones import gpt2_nano
from clsbench.builtin.backbones.gpt2_nano.shape import SHAPE
from clsbench.builtin.backbones.gpt2_nano.tokenizer import load_tokenizer


def test_windows_start_with_a_message_and_padding_targets_the_next_one() -> None:
    tokenizer = load_tokenizer(Path(gpt2_nano.__file__).parent)
    pad = tokenizer.pad_token_id
    runs = 0
    for window in islice(windows(3, tokenizer, SHAPE.context_length), 100):
        ids, targets, weights = window
        assert len(ids) == len(targets) == len(weights) == SHAPE.context_length
        assert ids[0] != pad
        for here, after, target in zip(ids, ids[1:], targets, strict=False):
            if here != pad:
                assert target == after
            elif after != pad:
                assert target == after
                runs += 1
        for index, token in enumerate(ids):
            if token == pad:
                assert targets[index] != pad
                assert 0 < weights[index] <= 1
    assert runs > 50
