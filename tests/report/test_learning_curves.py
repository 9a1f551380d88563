"""Learning curves in words."""

from __future__ import annotations

import itertools
import subprocess
import sys

import msgspec
import pytest

from clsbench.analysis.learning_curves import (
    Crossover,
    CurveLine,
    CurvePoint,
    LearningCurves,
    LinePair,
    SizeTest,
)
from clsbench.report.learning_curves import curves_in_words, curves_note

SIZES = (16, 64, 256)


def line(name: str, accuracies: list[float], baseline: bool = False) -> CurveLine:
    points = (
        CurvePoint(train_texts=size, score=a, interval=(a, a), seeds=() if baseline else (1,))
        for size, a in zip(SIZES, accuracies, strict=True)
    )
    return CurveLine(name=name, baseline=baseline, points=tuple(points))


def curves(lines: list[CurveLine], significant: float) -> LearningCurves:
    """Curves in which differences of at least ``significant`` are significant."""
    pairs = []
    for place, a in enumerate(lines):
        for b in lines[place + 1 :]:
            tests = []
            for one, other in zip(a.points, b.points, strict=True):
                difference = round(other.score - one.score, 6)
                shown = abs(difference) >= significant
                tests.append(
                    SizeTest(
                        train_texts=one.train_texts,
                        difference=difference,
                        p_corrected=0.01 if shown else 0.6,
                        verdict=("better" if difference > 0 else "worse")
                        if shown
                        else "no difference shown",
                    )
                )
            differing = [t for t in tests if t.difference]
            changes = [
                (x.train_texts, y.train_texts)
                for x, y in itertools.pairwise(differing)
                if x.difference * y.difference < 0
            ]
            crossover = None
            if len(changes) == 1:
                crossover = Crossover(after=changes[0][0], before=changes[0][1], estimate=128.4)
            pairs.append(
                LinePair(
                    a=a.name, b=b.name, tests=tuple(tests), changes=len(changes),
                    crossover=crossover,
                )
            )  # fmt: skip
    return LearningCurves(test_texts=300, lines=tuple(lines), pairs=tuple(pairs), stand_ins=())


TFIDF = line("TF-IDF", [0.8, 0.85, 0.9], baseline=True)
CROSSING = (
    "Below about 130 training texts, TF-IDF is ahead of last-block; beyond, last-block is ahead "
    "(they cross between 64 and 256). "
)


@pytest.mark.parametrize(
    ("accuracies", "significant", "said"),
    [
        ([0.6, 0.84, 0.97], 0.05, CROSSING + "Both leads are significant: the first at 16 texts, "
                                             "the second at 256 texts."),
        ([0.6, 0.7, 0.91], 0.05, CROSSING + "Only the first lead is significant, at 16 and 64 "
                                            "texts."),
        ([0.79, 0.84, 0.97], 0.05, CROSSING + "Only the second lead is significant, at 256 texts."),
        ([0.79, 0.84, 0.91], 0.05, CROSSING + "Neither lead is significant at any size."),
        ([0.9, 0.9, 0.91], 0.1, "last-block is ahead of TF-IDF at every size, significantly at 16 "
                                "texts."),
        ([0.9, 0.9, 0.91], 0.2, "last-block is ahead of TF-IDF at every size, but never "
                                "significantly."),
        ([0.7, 0.7, 0.7], 0.1, "TF-IDF is ahead of last-block at every size, each time "
                               "significantly."),
        ([0.7, 0.85, 0.8], 0.2, "TF-IDF is ahead of or equal to last-block at every size, but "
                                "never significantly."),
        ([0.8, 0.85, 0.9], 0.2, "TF-IDF and last-block are equally good at every size."),
        ([0.9, 0.8, 0.95], 0.1, "The lead changes 2 times: last-block is ahead at 16 and 256 "
                                "texts, TF-IDF is ahead at 64 texts. Significant: that of "
                                "last-block at 16 texts."),
        ([0.9, 0.8, 0.95], 0.2, "The lead changes 2 times: last-block is ahead at 16 and 256 "
                                "texts, TF-IDF is ahead at 64 texts. No lead is significant."),
    ],
)  # fmt: skip
def test_curves_in_words_row_against_the_best_baseline(
    accuracies: list[float], significant: float, said: str
) -> None:
    worst = line("majority", [0.5, 0.5, 0.5], baseline=True)
    found = curves_in_words(curves([TFIDF, worst, line("last-block", accuracies)], significant))
    assert found == [said]


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ([0.5, 0.4, 0.3], "a is ahead of b at every size, but never significantly."),
        ([0.5, 0.8, 0.3], "The lead changes 2 times: a is ahead at 16 and 256 texts, b is ahead at "
                          "64 texts. No lead is significant."),
    ],
)  # fmt: skip
def test_curves_in_words_lower_is_better_for_a_loss(losses: list[float], said: str) -> None:
    found = curves([line("a", losses), line("b", [0.6, 0.6, 0.6])], significant=9)
    loss = msgspec.structs.replace(found.metric, better="lower")
    assert curves_in_words(msgspec.structs.replace(found, metric=loss)) == [said]


def test_curves_in_words_changes_of_the_lead_between_rows_are_named() -> None:
    lines = [line("head", [0.9, 0.91, 0.92]), line("all", [0.7, 0.9, 0.99]), TFIDF]
    first, *others = curves_in_words(curves(lines, 0.05))
    assert first == (
        "Below about 130 training texts, head is ahead of all; beyond, all is ahead (they cross "
        "between 64 and 256). Both leads are significant: the first at 16 texts, the second at 256 "
        "texts."
    )
    assert [each.partition(" at every")[0] for each in others] == [
        "head is ahead of TF-IDF",
        "Below about 130 training texts, TF-IDF is ahead of all; beyond, all is ahead (they cross "
        "between 16 and 64). Both leads are significant: the first at 16 texts, the second at 64 "
        "and 256 texts.",
    ]


def test_curves_in_words_rows_without_baselines_are_compared_with_the_leader() -> None:
    lines = [line("head", [0.7, 0.7, 0.7]), line("all", [0.8, 0.8, 0.8])]
    (said,) = curves_in_words(curves(lines, 0.05))
    assert said == "all is ahead of head at every size, each time significantly."
    assert curves_in_words(curves(lines[:1], 0.05)) == []


def test_curves_note_names_the_single_draw_and_seed() -> None:
    note = curves_note(curves([TFIDF, line("all", [0.7, 0.8, 0.9])], 1))
    assert "the same 300 test texts" in note
    assert note.endswith(
        "and each row was trained with one seed; another draw could move the curves."
    )


def test_curves_in_words_do_not_import_matplotlib() -> None:
    code = "import sys, clsbench.report.learning_curves; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
