"""The data set ``synthetic-sms``: a stand-in for the SMS Spam Collection, made by a grammar."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta

import clsbench

CLASS_NAMES = ("ham", "spam")
CORPUS_FILE = Path(__file__).with_name("corpus.tsv")
CORPUS_TEXTS = 5572


class SyntheticSms(clsbench.Dataset, frozen=True):
    """Text messages, ham and spam, made by a grammar: the stand-in for sms-spam.

    Proportions and lengths are those of the SMS Spam Collection; no sentence is taken from it. The
    texts are part of the package; ``tools/stand_ins`` in the repository makes them.
    """

    texts: Annotated[
        int, Meta(ge=20, le=CORPUS_TEXTS, description="number of texts, from the first")
    ] = CORPUS_TEXTS

    def default_split(self) -> clsbench.SplitName:
        """As for ``sms-spam``, which this data set replaces."""
        return "book"

    def default_balance(self) -> bool:
        """As for ``sms-spam``, which this data set replaces."""
        return True

    def load(self, files: clsbench.Files) -> clsbench.Corpus:
        """Read the embedded file."""
        lines = CORPUS_FILE.read_text(encoding="utf-8").split("\n")[: self.texts]
        rows = [line.split("\t") for line in lines]
        return clsbench.Corpus(
            class_names=CLASS_NAMES,
            texts=[text for _, text in rows],
            labels=[CLASS_NAMES.index(label) for label, _ in rows],
        )


@clsbench.hookimpl
def clsbench_register_datasets() -> dict[str, type[clsbench.Dataset]]:
    """Register ``synthetic-sms``."""
    return {"synthetic-sms": SyntheticSms}
