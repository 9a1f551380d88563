"""Suites that compare pretrained backbones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import clsbench
from clsbench import PublishedRow, SuiteRow, SuiteSpec


class _Model(NamedTuple):
    """A model of the hub; ``head`` and ``pooling`` are those of its classifier in transformers."""

    name: str
    revision: str
    head: str
    files: tuple[str, ...] = ()
    pooling: str = "first-token"

    def backbone(self) -> dict[str, Any]:
        """The backbone as a table of a spec."""
        table: dict[str, Any] = {"name": "hf", "model": self.name, "revision": self.revision}
        return table | ({"files": list(self.files)} if self.files else {})


BERT = _Model(
    "google-bert/bert-base-uncased",
    "86b5e0934494bd15c9632b12f734a8a67f723594",
    "dense:activation=tanh",
)
DISTILBERT = _Model(
    "distilbert/distilbert-base-uncased",
    "12040accade4e8a0f71eabdb258fecc2e7e948be",
    "dense:activation=relu",
)
ROBERTA = _Model(
    "FacebookAI/roberta-large", "722cf37b1afa9454edce342e7895e588b6ff1d59", "dense:activation=tanh"
)
ROBERTA_BASE = _Model(
    "FacebookAI/roberta-base", "e2da8e2f811d1448a5b465c236feacd80ffbac7b", "dense:activation=tanh"
)
DEBERTA = _Model(
    "microsoft/deberta-v3-base",
    "8ccc9b6f36199bec6961081d44eb72fb3f7353f3",
    "dense:activation=gelu",
    ("config.json", "spm.model", "tokenizer_config.json", "pytorch_model.bin"),
)
MODERNBERT = _Model(
    "answerdotai/ModernBERT-base",
    "8949b909ec900327062f0ebf497f51aef5e6f0c8",
    "dense-norm",
    pooling="mean",
)
MODERNBERT_LARGE = _Model(
    "answerdotai/ModernBERT-large",
    "45bb4654a4d5aaff24dd11d4781fa46d39bf8c13",
    "dense-norm",
    pooling="mean",
)

_SWAPPED = "by the table of the source; its log of this model says {} %"


def _imdb_row(
    label: str,
    title: str,
    model: _Model,
    percent: tuple[float, ...],
    minutes: float | None,
    remark: str = "",
    freezing: str = "all",
) -> SuiteRow:
    names = ("train", "validation", "test")[-len(percent) :]
    accuracy = {name: round(p / 100, 4) for name, p in zip(names, percent, strict=True)}
    return SuiteRow(
        label=label,
        title=title,
        changes={
            "backbone": model.backbone(),
            "pooling": model.pooling,
            "head": model.head,
            "freezing": freezing,
        },
        published=PublishedRow(accuracy=accuracy, minutes=minutes, remark=remark),
    )


IMDB_BACKBONES = SuiteSpec(
    description="GPT-2 and encoders on 50,000 film reviews, fine-tuned for one epoch (bonus"
    " material of chapter 6)",
    base="gpt2-imdb",
    source="S. Raschka, LLMs-from-scratch, ch06/03_bonus_imdb-classification (README.md)",
    conditions="one run each, device not stated; encoders with the head of transformers, of which"
    " BERT's and ModernBERT's have a pretrained layer; logistic regression on word counts: 88.85 %"
    " on test",
    rows=(
        SuiteRow(
            label="1",
            title="GPT-2 small",
            published=PublishedRow(
                accuracy={"train": 0.9564, "validation": 0.9232, "test": 0.9188}, minutes=9.48
            ),
        ),
        _imdb_row("2", "BERT base", BERT, (94.35, 90.74, 90.89), 7.65),
        _imdb_row("3", "DistilBERT", DISTILBERT, (95.30, 91.12, 91.40), 4.26),
        _imdb_row(
            "4",
            "RoBERTa large, last block",
            ROBERTA,
            (92.95,),
            None,
            _SWAPPED.format(94.69),
            "last-blocks",
        ),
        _imdb_row(
            "5",
            "DeBERTa-v3 base",
            DEBERTA,
            (94.69,),
            None,
            _SWAPPED.format(92.95),
        ),
        _imdb_row("6", "ModernBERT base", MODERNBERT, (95.72, 94.00, 93.79), 10.27),
        _imdb_row("7", "ModernBERT large", MODERNBERT_LARGE, (97.04, 95.30, 95.07), 27.69),
    ),
)


def _sms_row(label: str, title: str, model: _Model) -> SuiteRow:
    changes = {"backbone": model.backbone(), "pooling": "mean"}
    return SuiteRow(label=label, title=title, changes=changes)


SMS_SPAM_BACKBONES = SuiteSpec(
    description="Pretrained backbones on the SMS spam experiment: the last block is trained",
    base="gpt2-sms-spam",
    rows=(
        SuiteRow(label="1", title="GPT-2 small", changes={"pooling": "last-real-token"}),
        _sms_row("2", "BERT base", BERT),
        _sms_row("3", "DistilBERT", DISTILBERT),
        _sms_row("4", "RoBERTa base", ROBERTA_BASE),
        _sms_row("5", "DeBERTa-v3 base", DEBERTA),
        _sms_row("6", "ModernBERT base", MODERNBERT),
        _sms_row("7", "ModernBERT large", MODERNBERT_LARGE),
    ),
)


@clsbench.hookimpl
def clsbench_register_suites() -> Mapping[str, SuiteSpec]:
    """Register ``imdb-backbones`` and ``sms-spam-backbones``."""
    return {"imdb-backbones": IMDB_BACKBONES, "sms-spam-backbones": SMS_SPAM_BACKBONES}
