"""``--sweep KEY=A,B,C``."""

from __future__ import annotations

import pytest

from clsbench.cli.sweep import Sweep
from clsbench.errors import UsageError


def test_sweep_splits_at_commas_outside_quotes() -> None:
    sweep = Sweep('adapter=none, "lora:r=8,alpha=8"')
    assert (sweep.key, sweep.values) == ("adapter", ["none", "lora:r=8,alpha=8"])
    assert Sweep("batch=8").key == "train.batch_size"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch", "is not KEY=A,B,C"),
        ("batch=", "is not KEY=A,B,C"),
        ("batch=8,8", "names a value twice"),
        ("batch=" + "8" * 200_000, "cannot be read: field larger than field limit"),
    ],
    ids=["no-values", "empty", "twice", "too-long"],
)
def test_sweep_of_an_invalid_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Sweep(text)
