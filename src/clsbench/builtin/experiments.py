"""The experiments of the book, with its published figures, and one for the user's own texts."""

from __future__ import annotations

from collections.abc import Mapping

import clsbench
from clsbench import DataSettings, ExperimentSpec, PublishedFigures, SplitSettings, TrainSettings

GPT2_SMS_SPAM = ExperimentSpec(
    description="GPT-2 small classifies SMS as spam or ham; last block trained (book, chapter 6)",
    dataset="sms-spam",
    backbone="gpt2:size=small",
    pooling="last-token",
    head="linear",
    freezing="last-blocks:n=1",  # split and balance: the defaults of sms-spam
    published=PublishedFigures(
        source="S. Raschka, Build a Large Language Model (From Scratch), chapter 6"
        " (ch06/01_main-chapter-code/ch06.ipynb)",
        conditions="Apple GPU (MPS). Before training: accuracy over 10 batches, loss over 5;"
        " losses while training over 5; final train accuracy over 130 full batches (1,040 texts)",
        accuracy={"train": 0.9721, "validation": 0.9732, "test": 0.9567},
        accuracy_before={"train": 0.4625, "validation": 0.45, "test": 0.4875},
        loss_before={"train": 2.453, "validation": 2.583, "test": 2.322},
        losses=(
            (0, 2.153, 2.392),
            (50, 0.617, 0.637),
            (100, 0.523, 0.557),
            (150, 0.561, 0.489),
            (200, 0.419, 0.397),
            (250, 0.409, 0.353),
            (300, 0.333, 0.320),
            (350, 0.340, 0.306),
            (400, 0.136, 0.200),
            (450, 0.153, 0.132),
            (500, 0.222, 0.137),
            (550, 0.207, 0.143),
            (600, 0.083, 0.074),
        ),
    ),
)

GPT2_IMDB = ExperimentSpec(
    description="GPT-2 small classifies film reviews as positive or negative; all layers trained"
    " for one epoch (bonus material)",
    dataset="imdb",
    backbone="gpt2:size=small",
    pooling="last-token",
    head="linear",
    freezing="all",
    # The bonus script joins the corpus' two halves and splits them again: 35,000 texts for
    # training, 5,000 for validation, 10,000 for testing. It shuffles twice.
    data=DataSettings(
        split=SplitSettings(name="book-ablation", train=0.7, validation=0.1),
        balance=False,
        padding=256,
    ),
    train=TrainSettings(epochs=1, eval_batches=20),
    published=PublishedFigures(
        source="S. Raschka, LLMs-from-scratch, ch06/03_bonus_imdb-classification (README.md,"
        " train_gpt.py --trainable_layers all --num_epochs 1)",
        conditions="device not stated (9.48 minutes); losses while training over 20 batches",
        accuracy={"train": 0.9564, "validation": 0.9232, "test": 0.9188},
        losses=(
            (0, 3.706, 3.853),
            (50, 0.682, 0.706),
            (4300, 0.199, 0.285),
            (4350, 0.188, 0.208),
        ),
    ),
)

OWN_TEXTS = ExperimentSpec(
    description="Your own texts (--dataset csv:path=FILE,text=COLUMN,label=COLUMN); the embedded"
    " backbone unless --backbone names another; last block trained, best epoch by validation",
    dataset="sms-spam",
    backbone="gpt2:size=small",
    stand_ins=("backbone",),
    pooling="mean",  # better features of a frozen backbone than the last token's
    head="linear",
    freezing="last-blocks:n=1",
    train=TrainSettings(
        lr=1e-3,
        schedule="linear:warmup=0.1",
        gradient_clipping=1.0,
        select="best-validation",
    ),
)


@clsbench.hookimpl
def clsbench_register_experiments() -> Mapping[str, ExperimentSpec]:
    """Register ``gpt2-sms-spam``, ``gpt2-imdb`` and ``own-texts``."""
    return {
        "gpt2-sms-spam": GPT2_SMS_SPAM,
        "gpt2-imdb": GPT2_IMDB,
        "own-texts": OWN_TEXTS,
    }
