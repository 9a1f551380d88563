"""Views of a run on a terminal."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

from rich.console import Console

from clsbench.components.values import RunPlan

WIDTHS = (40, 50, 60, 80, 120)


PLAN = RunPlan(
    experiment="gpt2-sms-spam",
    stand_ins=(),
    components={
        "dataset": "sms-spam",
        "backbone": "gpt2:size=small,weights=pretrained,causal=true",
        "freezing": "last-blocks:n=1",
    },
    device="cpu",
    precision="fp32",
    seed=123,
    epochs=5,
    steps=650,
    train_texts=1045,
    max_length=120,
    parameters_total=124_441_346,
    parameters_trainable=7_092_482,
)


def show(draw: Callable[[Console], None], width: int = 80) -> str:
    """The output without colors at this width, as in a pipe."""
    file = io.StringIO()
    draw(Console(file=file, width=width))
    return file.getvalue()


def flat(text: str) -> str:
    """``text`` without frames and line breaks, so that it can be searched at any width."""
    return " ".join(re.sub(r"[━┏┓┗┛┃─]", " ", text).split())
