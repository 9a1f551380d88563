"""The data set ``sms-spam``: the UCI SMS Spam Collection."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

import clsbench
from clsbench.builtin.datasets.synthetic_sms import SyntheticSms

CLASS_NAMES = ("ham", "spam")

COLLECTION = clsbench.Asset(
    key="sms-spam/SMSSpamCollection",
    sources=(
        clsbench.WebFile(
            url="https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip",
            member="SMSSpamCollection",
        ),
        clsbench.WebFile(  # the book's backup of the same archive
            url="https://f001.backblazeb2.com/file/LLMs-from-scratch/sms%2Bspam%2Bcollection.zip",
            member="SMSSpamCollection",
        ),
    ),
    # Of the member: archives get packed anew.
    sha256="7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d",
    size_bytes=477_907,
    largest_bytes=10**7,
)


class SmsSpam(clsbench.Dataset, frozen=True):
    """Text messages in English, ham and spam: the UCI SMS Spam Collection, 13 % of it spam.

    Read with pandas' default quoting, as in the book, it has 5,572 texts, since two line ends are
    within quotes; with ``quoting=none`` it has all 5,574.

    Source: Almeida, Gómez Hidalgo and Yamakami 2011, *Contributions to the Study of SMS Spam
    Filtering*; UCI Machine Learning Repository, data set 228.
    """

    quoting: Annotated[
        Literal["default", "none"],
        Meta(description="default: quotes enclose a text, as in pandas; none: they are part of it"),
    ] = "default"

    def assets(self) -> tuple[clsbench.Asset, ...]:
        """The one file of the collection."""
        return (COLLECTION,)

    def stand_in(self) -> SyntheticSms:
        """Messages of the same kind, made by a grammar."""
        return SyntheticSms()

    def default_split(self) -> clsbench.SplitName:
        """As in the book, chapter 6."""
        return "book"

    def default_balance(self) -> bool:
        """As in the book, chapter 6."""
        return True

    def load(self, files: clsbench.Files) -> clsbench.Corpus:
        """Read label and text, separated by a tab, in the file's order."""
        import csv

        import pandas as pd

        table = pd.read_csv(
            files[COLLECTION.key],
            sep="\t",
            header=None,
            names=["label", "text"],
            dtype=str,
            keep_default_na=False,  # a message that reads "NA" is a message
            quoting=csv.QUOTE_NONE if self.quoting == "none" else csv.QUOTE_MINIMAL,
        )
        index = {name: number for number, name in enumerate(CLASS_NAMES)}
        return clsbench.Corpus(
            class_names=CLASS_NAMES,
            texts=table["text"].tolist(),
            labels=[index[label] for label in table["label"]],
        )


@clsbench.hookimpl
def clsbench_register_datasets() -> dict[str, type[clsbench.Dataset]]:
    """The SMS Spam Collection."""
    return {"sms-spam": SmsSpam}
