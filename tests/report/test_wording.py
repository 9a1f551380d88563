"""Names and numbers as text."""

from __future__ import annotations

import pytest

from clsbench.report.wording import shortest_label


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["majority", "tfidf-logreg:ngrams=1,c=auto"], ["majority", "tfidf-logreg"]),
        (["tfidf:ngrams=1", "tfidf:ngrams=2", "other:c=1"],
         ["tfidf:ngrams=1", "tfidf:ngrams=2", "other"]),
    ],
)  # fmt: skip
def test_shortest_label_has_options_only_where_names_are_equal(
    labels: list[str], expected: list[str]
) -> None:
    assert [shortest_label(label, labels) for label in labels] == expected
