"""The costs of the recommended approach, and the gain of dearer ones, in words."""

from __future__ import annotations

from compared import compared, contender
from metric_examples import SHOWN

from clsbench.analysis.comparison import Contender, Cost
from clsbench.analysis.recommendation import recommend
from clsbench.report.recommendation import recommendation_text

HEAD = contender("head", 0.85, 2.0, trainable_parameters=1538, prediction_seconds=0.5)
BLOCK = contender("block", 0.92, 5.0)
ALL = contender("all", 0.95, 50.0, prediction_seconds=3.0)


def name(each: Contender) -> str:
    return f"row {each.name}"


def test_recommendation_text_tuned_row_has_costs_and_gains() -> None:
    found = recommend(compared([HEAD, BLOCK, ALL]), {"head": Cost(4.0, False)})
    assert recommendation_text(found, SHOWN.primary, name, trials=5) == (
        "Row head trains 1,538 parameters in 2 s (4 s with all 5 trials), and classifies 1,000 "
        "texts in about 0.5 s. The next dearer approach, row block (92.00 % in 5 s), is better by "
        "7.00 pp (95 %: 6.0 to 9.0), which is not significant. The best of the dearer ones, row "
        "all (95.00 % in 50 s; 1,000 texts in about 3 s), is better by 10.00 pp "
        "(95 %: 9.0 to 12.0), which is not significant."
    )


def test_recommendation_text_significant_difference_is_called_so() -> None:
    worse = contender("block", 0.8, 5.0)
    text = recommendation_text(
        recommend(compared([HEAD, worse], ("head", "block"))), SHOWN.primary, name
    )
    assert "(80.00 % in 5 s), is worse by 5.00 pp (95 %: 3.0 to 6.0), which is significant." in text


def test_recommendation_text_dearest_approach_says_so() -> None:
    found = recommend(compared([HEAD, BLOCK], ("block", "head")))
    text = recommendation_text(found, SHOWN.primary, name)
    assert text == "Row block is trained in 5 s. No approach that was tried is dearer."


def test_recommendation_text_baseline_says_how_it_is_stored() -> None:
    found = recommend(compared([contender("baseline tfidf", 0.9, 1.0), HEAD]))
    text = recommendation_text(found, SHOWN.primary, name)
    assert text.startswith("Row baseline tfidf is trained in 1 s. The next dearer approach, row he")
    assert text.endswith(
        "Every run fits and stores its baselines; no command trains one alone, and clsbench "
        "export writes only fine-tuned models."
    )
