"""The answer in words agrees with the comparison."""

from __future__ import annotations

from pathlib import Path

from report_examples import Row, make_figures

from clsbench.report.page.answer import answer
from clsbench.schema.record import FastPath, KeptActivations

KEPT = KeptActivations(
    texts=10, distinct=10, computed=0, found=10, recomputed=0, memory_bytes=1, disk_bytes=0
)


def test_answer_best_row_beats_all_recommends_it(tmp_path: Path) -> None:
    rows = [Row(title="weak", accuracy=0.6), Row(title="strong", accuracy=0.99, seconds=20.0)]
    reply = answer(make_figures(tmp_path, rows))
    assert reply.question == (
        "Which of 2 configurations best classifies 300 test texts as ham or spam, and what does it "
        "cost?"
    )
    assert reply.headline == (
        "Use row 2 (strong): 99.00 %; it is significantly better than every other row and than "
        "TF-IDF + logistic regression (90.00 % in 0.4 s)."
    )
    assert reply.cards[0].label == "highest accuracy"
    assert reply.cards[0].figure == "99.00 %"
    text = " ".join(reply.sentences)
    assert "Significantly worse: row 1." in text
    assert "Fine-tuning pays off: TF-IDF + logistic regression (90.00 % in 0.4 s) is" in text
    assert "worse than the best row, by 9.00 pp" in text
    assert "1 of 2 rows is significantly better than it" in text
    assert reply.tied == {"2"}


def test_answer_tied_rows_names_no_winner(tmp_path: Path) -> None:
    rows = [
        Row(title="a", accuracy=0.95, seconds=100.0),
        Row(title="b", accuracy=0.947, seconds=1.0),
        Row(title="c", accuracy=0.6),
    ]
    reply = answer(make_figures(tmp_path, rows, baselines=(0.5, 0.943)))
    assert reply.headline == (
        "Use TF-IDF + logistic regression: 94.33 % in 0.4 s; no fine-tuned model is significantly "
        "better."
    )
    assert reply.cards[0].figure == "95.00 %"
    text = " ".join(reply.sentences)
    assert "Row 1 (a) has the highest accuracy of the rows, 95.00 %. Its 95 % interval" in text
    assert "Not significantly different from it: row 2." in text
    assert "That does not mean that they are equal: the smallest significant difference" in text
    assert "A baseline may be as good" in text
    assert "The next dearer approach, row 2 (b) (94.67 % in 1 s), is better by" in reply.costs
    assert "The best of the dearer ones, row 1 (a) (95.00 % in 1 min 40 s), is" in reply.costs
    assert "one seed" in text
    assert reply.tied == {"1", "2"}


def test_answer_baseline_ahead_but_not_significantly_is_reported(tmp_path: Path) -> None:
    rows = [Row(title="a", accuracy=0.9), Row(title="b", accuracy=0.89)]
    reply = answer(make_figures(tmp_path, rows, baselines=(0.5, 0.91)))
    assert reply.headline.startswith("Use TF-IDF + logistic regression: 91.00 % in 0.4 s; no fine-")
    assert reply.cards[0].figure == "91.00 %"
    assert reply.cards[0].detail.startswith("TF-IDF + logistic regression, 95 % ")
    assert (
        "A baseline may be better: TF-IDF + logistic regression (91.00 % in 0.4 s) is 1.00 pp "
        "ahead of the best row, but the difference is not significant."
    ) in " ".join(reply.sentences)


def test_answer_baseline_significantly_better_wins(tmp_path: Path) -> None:
    rows = [Row(title="a", accuracy=0.8), Row(title="b", accuracy=0.79)]
    reply = answer(make_figures(tmp_path, rows, baselines=(0.5, 0.99)))
    assert reply.headline == (
        "Use TF-IDF + logistic regression: 99.00 % in 0.4 s; it is significantly better than "
        "every fine-tuned model."
    )
    text = " ".join(reply.sentences)
    assert (
        "A baseline wins: TF-IDF + logistic regression (99.00 % in 0.4 s) is significantly better"
        in text
    )


def test_answer_one_run_without_baselines_gives_its_accuracy(tmp_path: Path) -> None:
    reply = answer(make_figures(tmp_path, [Row(title="alone", accuracy=0.9)], baselines=()))
    assert reply.headline.startswith("Row 1 (alone): 90.00 % (95 % interval ")
    assert "no difference was tested" in " ".join(reply.sentences)
    assert reply.question.startswith("How well does this configuration classify")


def test_answer_without_finished_rows_says_so(tmp_path: Path) -> None:
    reply = answer(make_figures(tmp_path, []))
    assert "no row has finished" in reply.headline


def test_answer_row_with_cached_activations_is_not_the_fastest(tmp_path: Path) -> None:
    found = {"fast_path": FastPath(shortcuts=(), kept=KEPT)}
    rows = [
        Row(title="a", accuracy=0.95, seconds=100.0),
        Row(title="b", accuracy=0.947, seconds=1.0, record=found),
        Row(title="c", accuracy=0.943, seconds=50.0),
    ]
    figures = make_figures(tmp_path, rows)
    reply = answer(figures)
    fastest = [card for card in reply.cards if card.label == "fastest of the tied rows"]
    assert [card.detail for card in fastest] == ["row 3 (c), 94.33 %"]
    assert "Row 2 reused cached activations from an earlier run; from scratch" in reply.costs


def test_answer_several_seeds_has_no_warning_of_one_seed(tmp_path: Path) -> None:
    seeds = (123, 124, 125)
    rows = [
        Row(title="a", accuracy=0.95, less_by_seed=0.01, seeds=seeds),
        Row(title="b", accuracy=0.6, seeds=seeds),
    ]
    reply = answer(make_figures(tmp_path, rows))
    text = " ".join(reply.sentences)
    assert "Its 95 % interval over texts and seeds is" in text
    assert "one seed" not in text
