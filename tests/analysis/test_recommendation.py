"""The recommendation is the cheapest approach that no other beats significantly."""

from __future__ import annotations

import pytest
from compared import compared, contender

from clsbench.analysis.comparison import Cost
from clsbench.analysis.recommendation import Approach, from_cheap_to_dear, recommend

MAJORITY = contender("baseline majority", 0.4, 0.01)
TFIDF = contender("baseline tfidf-logreg", 0.9, 1.0)
HEAD = contender("head", 0.85, 2.0)
BLOCK = contender("block", 0.92, 5.0)
ALL = contender("all", 0.95, 50.0)
EVERY = [ALL, MAJORITY, BLOCK, TFIDF, HEAD]
OVER_MAJORITY = [(each.name, MAJORITY.name) for each in (TFIDF, HEAD, BLOCK, ALL)]


def test_from_cheap_to_dear_baselines_come_first_and_unknown_costs_last() -> None:
    slow = contender("baseline slow", 0.5, 30.0)
    unknown = contender("unknown", 0.9, None)
    unscored = contender("baseline unscored", None, 0.1)
    found = from_cheap_to_dear(compared([unknown, *EVERY, slow, unscored]))
    assert [each.contender.name for each in found] == [
        *("baseline majority", "baseline tfidf-logreg", "baseline slow"),
        *("head", "block", "all", "unknown"),
    ]


def test_from_cheap_to_dear_costs_with_tuning_replace_those_of_one_run() -> None:
    found = from_cheap_to_dear(compared([BLOCK, HEAD]), {"head": Cost(10.0, False)})
    assert [each.contender.name for each in found] == ["block", "head"]
    assert found[1].cost.seconds == 10.0


def test_recommend_slow_predictions_of_baselines_count_as_costs() -> None:
    features = contender("baseline frozen-logreg", 0.85, 0.6, prediction_seconds=2.0)
    texts = contender("baseline tfidf-logreg", 0.95, 1.1, prediction_seconds=0.05)
    found = recommend(compared([features, texts]))
    assert found.chosen.contender is texts
    assert found.next_dearer is not None
    assert found.next_dearer.approach.contender is features


def test_from_cheap_to_dear_fine_tuned_models_are_ordered_by_training_alone() -> None:
    slow = contender("slow", 0.9, 1.0, prediction_seconds=3.4)
    fast = contender("fast", 0.9, 1.2, prediction_seconds=3.0)
    found = from_cheap_to_dear(compared([fast, slow]))
    assert [each.contender for each in found] == [slow, fast]


def test_from_cheap_to_dear_equal_costs_the_better_comes_first() -> None:
    same = contender("same", 0.99, HEAD.prefix_and_training_seconds)
    assert from_cheap_to_dear(compared([HEAD, same]))[0].contender is same


@pytest.mark.parametrize(
    ("better", "chosen", "next_dearer", "best_dearer"),
    [
        (OVER_MAJORITY, "baseline tfidf-logreg", "head", "all"),
        ([], "baseline majority", "baseline tfidf-logreg", "all"),
        ([*OVER_MAJORITY, ("block", TFIDF.name), ("block", "head")], "block", "all", None),
        ([*OVER_MAJORITY, ("block", TFIDF.name)], "head", "block", "all"),
        ([(ALL.name, each.name) for each in EVERY[1:]], "all", None, None),
    ],
)
def test_recommend_cheapest_that_no_other_beats(
    better: list[tuple[str, str]], chosen: str, next_dearer: str | None, best_dearer: str | None
) -> None:
    found = recommend(compared(EVERY, *better))
    assert found.chosen.contender.name == chosen
    gains = [found.next_dearer, found.best_dearer]
    names = [gain.approach.contender.name if gain is not None else None for gain in gains]
    assert names == [next_dearer, best_dearer]
    for gain in gains:
        if gain is not None:
            assert gain.pair is not None
            assert (gain.pair.a, gain.pair.b) == (chosen, gain.approach.contender.name)


def test_recommend_best_dearer_is_left_out_if_it_gains_nothing() -> None:
    worse = contender("worse", 0.8, 3.0)
    found = recommend(compared([HEAD, worse, contender("as well", 0.85, 4.0)]))
    assert found.next_dearer is not None
    assert found.next_dearer.approach.contender is worse
    assert found.best_dearer is None


def test_recommend_approaches_with_the_most_training_texts_only() -> None:
    few = contender("few", 0.95, 0.5, train_texts=64)
    head = contender("head", 0.85, 2.0, train_texts=1024)
    block = contender("block", 0.92, 5.0, train_texts=1024)
    assert recommend(compared([few, block])) == (Approach(block, Cost(5.0, False)), None, None)
    found = recommend(compared([few, block, head], ("few", "head"), ("block", "head")))
    assert found.chosen.contender is block
