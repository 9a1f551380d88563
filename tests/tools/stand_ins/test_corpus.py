from __future__ import annotations

from tools.stand_ins.corpus import TEXTS, corpus_file

from clsbench.builtin.datasets.synthetic_sms import CORPUS_FILE, CORPUS_TEXTS


def test_corpus_file_rebuilt_equals_the_embedded_one() -> None:
    assert corpus_file().encode() == CORPUS_FILE.read_bytes()
    assert TEXTS == CORPUS_TEXTS
