"""The data set ``synthetic-sms``: a stand-in for the SMS Spam Collection, made by a grammar."""

from __future__ import annotations

from typing import Annotated

import msgspec

import clsbench


class SyntheticSms(clsbench.Dataset, frozen=True):
    """Text messages, ham and spam, made by a seeded grammar: the stand-in for sms-spam.

    ``texts`` is their number, ``seed`` that of the grammar. Proportions and lengths are those of
    the SMS Spam Collection; no sentence is taken from it. ``data.quoting`` has no bearing.
    """

    texts: Annotated[int, msgspec.Meta(ge=20, le=1_000_000)] = 5572
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0

    def default_split(self) -> clsbench.SplitName:
        """As for ``sms-spam``, which this data set replaces."""
        return "book"

    def default_balance(self) -> bool:
        """As for ``sms-spam``, which this data set replaces."""
        return True

    def load(self, files: clsbench.Files, quoting: str) -> clsbench.Corpus:
        """Generate the corpus; the same options always give the same texts."""
        from clsbench.builtin.datasets.synthetic_sms.grammar import CLASS_NAMES, Messenger

        labels, texts = Messenger(self.seed).corpus(self.texts)
        return clsbench.Corpus(class_names=CLASS_NAMES, texts=texts, labels=labels)


@clsbench.hookimpl
def clsbench_register_datasets() -> dict[str, type[clsbench.Dataset]]:
    """The embedded data set."""
    return {"synthetic-sms": SyntheticSms}
