"""The headline recommends a row or a baseline according to the tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from compared import compared, contender
from metric_examples import SHOWN
from report_examples import Row, make_figures

from clsbench.analysis.comparison import compare_runs
from clsbench.analysis.standing import baselines
from clsbench.report.terminal.headline import headline, headline_of_runs, suite_headline
from clsbench.results.store import scan

TFIDF = "TF-IDF + logistic regression"


def sentence(folder: Path, *accuracies: float, baselines: tuple[float, ...] = (0.5, 0.9)) -> str:
    rows = [Row(title=f"t{number}", accuracy=a) for number, a in enumerate(accuracies, 1)]
    found = suite_headline(make_figures(folder, rows, baselines=baselines))
    assert found is not None
    return found.sentence


@pytest.mark.parametrize(
    ("accuracies", "baselines", "expected"),
    [
        (
            (0.8, 0.79),
            (0.5, 0.99),
            f"Use {TFIDF}: 99.00 % in 0.4 s; it is significantly better than every fine-tuned "
            "model.",
        ),
        (
            (0.9, 0.6),
            (0.5, 0.91),
            f"Use {TFIDF}: 91.00 % in 0.4 s; no fine-tuned model is significantly better.",
        ),
        (
            (0.9, 0.89),
            (0.5, 0.88),
            f"Use {TFIDF}: 88.00 % in 0.4 s; no fine-tuned model is significantly better.",
        ),
        (
            (0.99, 0.6),
            (0.5, 0.9),
            "Use row 1 (t1): 99.00 %; it is significantly better than every other row and than "
            f"{TFIDF} (90.00 % in 0.4 s).",
        ),
        (
            (0.99, 0.98, 0.6),
            (0.5, 0.8),
            "Use row 1 (t1): 99.00 %; no other row is significantly better; it is significantly "
            f"better than {TFIDF} (80.00 % in 0.4 s).",
        ),
        (
            (0.99,),
            (0.5, 0.8),
            f"Use row 1 (t1): 99.00 %; it is significantly better than {TFIDF} (80.00 % in 0.4 s).",
        ),
        (
            (0.5,),
            (0.99,),
            "Use the most frequent class: 99.00 % in 10 ms; it is significantly better than row 1 "
            "(t1).",
        ),
        (
            (0.9, 0.6),
            (),
            "Use row 1 (t1): 90.00 %; it is significantly better than every other row; no baseline "
            "was run.",
        ),
    ],
)
def test_headline_recommends_what_the_tests_show(
    tmp_path: Path, accuracies: tuple[float, ...], baselines: tuple[float, ...], expected: str
) -> None:
    assert sentence(tmp_path, *accuracies, baselines=baselines) == expected


def test_headline_of_runs_single_experiment_is_named(tmp_path: Path) -> None:
    make_figures(tmp_path, [Row(accuracy=0.99, seeds=(1, 2))])
    message = headline_of_runs(scan(tmp_path).runs, SHOWN).sentence
    assert message.startswith("Use gpt2-sms-spam: 99.00 %; it is significantly better than TF-IDF")


def test_headline_of_runs_without_baselines_gives_the_accuracy(tmp_path: Path) -> None:
    make_figures(tmp_path, [Row(accuracy=0.99)], baselines=())
    message = headline_of_runs(scan(tmp_path).runs, SHOWN).sentence
    assert message == "Use gpt2-sms-spam: 99.00 %; no baseline was run."


def test_compare_runs_baselines_that_differ_by_seed_are_compared_by_seed(tmp_path: Path) -> None:
    figures = make_figures(tmp_path, [Row(accuracy=0.99, seeds=(1, 2))])
    assert figures.comparison is not None
    assert [each.seeds for each in baselines(figures.comparison)] == [(), ()]
    file = sorted(tmp_path.glob("*/baselines.csv"))[1]
    header, *lines = [line.split(",") for line in file.read_text().splitlines()]
    for label in ("ham", "spam"):  # as many correct as before, on other texts
        those = [line for line in lines if line[2] == label]
        predicted = [line[4] for line in those]
        for line, other in zip(those, reversed(predicted), strict=True):
            line[4] = other
    file.write_text("".join(",".join(line) + "\n" for line in [header, *lines]))
    comparison = compare_runs(scan(tmp_path).runs)
    assert {each.name: each.seeds for each in baselines(comparison)} == {
        "baseline majority": (),
        "baseline tfidf-logreg:ngrams=1,c=1.0": (1, 2),
    }
    assert (
        "it is significantly better than TF-IDF"
        in headline_of_runs(scan(tmp_path).runs, SHOWN).sentence
    )


@pytest.mark.parametrize(
    ("better", "expected"),
    [
        ([("block", "baseline tfidf")],
         "Use head: 85.00 %; no other row with 1,024 training texts is significantly better; 1 of "
         "2 rows with 1,024 training texts is significantly better than tfidf (80.00 % in 3 s)."),
        ([("block", "head"), ("block", "baseline tfidf")],
         "Use block: 92.00 %; it is significantly better than every other row with 1,024 training "
         "texts and than tfidf (80.00 % in 3 s)."),
    ],
)  # fmt: skip
def test_suite_of_several_train_sizes_names_the_size(
    better: list[tuple[str, str]], expected: str
) -> None:
    few = contender("few", 0.95, 0.5, train_texts=64)
    head = contender("head", 0.85, 2.0, train_texts=1024)
    block = contender("block", 0.92, 5.0, train_texts=1024)
    tfidf = contender("baseline tfidf", 0.8, 3.0, train_texts=1024)
    found = headline(compared([few, head, block, tfidf], *better), lambda each: each.name)
    assert found.sentence == expected
