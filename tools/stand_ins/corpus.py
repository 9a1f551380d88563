"""Makes the texts of ``synthetic-sms``: ``python -m tools.stand_ins.corpus OUTPUT_FILE``."""

from __future__ import annotations

import sys
from pathlib import Path

from tools.stand_ins.grammar import CLASS_NAMES, Messenger

SEED = 0
TEXTS = 5572


def corpus_file() -> str:
    """The content of the embedded file: class and text in every line, separated by a tab."""
    labels, texts = Messenger(SEED).corpus(TEXTS)
    rows = zip(labels, texts, strict=True)
    return "".join(f"{CLASS_NAMES[label]}\t{text}\n" for label, text in rows)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(corpus_file(), encoding="utf-8", newline="\n")
