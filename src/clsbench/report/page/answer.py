"""The answer in words: which row is best, which differences are significant, and the costs."""

from __future__ import annotations

import math
from typing import NamedTuple

from clsbench.analysis.comparison import Contender, Pair, RunComparison
from clsbench.analysis.dataset_ranks import Ranks
from clsbench.analysis.recommendation import recommend
from clsbench.analysis.row_figures import RowFigures
from clsbench.analysis.seeds import FEWEST_SEEDS
from clsbench.analysis.standing import (
    baseline_title,
    baselines,
    smallest_significant,
    standing,
    trained,
)
from clsbench.analysis.suite_figures import SuiteFigures
from clsbench.report.ranks import ranks_headline, ranks_sentences, test_text
from clsbench.report.recommendation import capital, recommendation_text
from clsbench.report.terminal.headline import costs_with_tuning, row_name, suite_headline
from clsbench.report.tuning import choices, edge_notes, tuning_text
from clsbench.report.wording import (
    FOUND,
    difference_text,
    listed,
    metric_difference,
    metric_range,
    metric_text,
    superlative,
)
from clsbench.schema.quantities import duration_text


class Card(NamedTuple):
    """A number with a label above and a detail below it."""

    label: str
    figure: str
    detail: str


class Answer(NamedTuple):
    """The question, the answer in one sentence, further sentences, and the main numbers.

    ``tied`` are the labels of the best row and of those not significantly different from it.
    ``recommended`` is the contender to use, if there is a comparison, and ``costs`` says what it
    and dearer ones cost.
    """

    question: str
    headline: str
    sentences: tuple[str, ...]
    cards: tuple[Card, ...]
    tied: frozenset[str]
    recommended: Contender | None = None
    costs: str = ""


def answer(figures: SuiteFigures) -> Answer:
    """The answer that the comparison of a suite's rows supports."""
    finished = [row for row in figures.rows if row.runs]
    if not finished:
        return Answer(
            _question(figures, 0), "There are no results yet: no row has finished.", (), (),
            frozenset(),
        )  # fmt: skip
    comparison = figures.comparison
    if figures.ranks is not None:
        found = suite_headline(figures)
        assert found is not None
        return _over_datasets(figures.ranks)._replace(recommended=found.contender)
    if comparison is None:
        return _uncompared(figures, finished)
    return _Sentences(figures, comparison).answer()


def _question(figures: SuiteFigures, texts: int) -> str:
    finished = sum(
        bool(row.runs)
        and row.row.same_as is None
        and (row.contender is not None or figures.comparison is None)
        for row in figures.rows
    )
    what = f"{texts:,} test texts" if texts else "the test texts"
    what += _classes(figures)
    if finished > 1:
        return f"Which of {finished} configurations best classifies {what}, and what does it cost?"
    return f"How well does this configuration classify {what}, and what does it cost?"


def _classes(figures: SuiteFigures) -> str:
    record = next((row.record for row in figures.rows if row.record is not None), None)
    if record is None or record.data is None:
        return ""
    names = record.data.class_names
    return f" as {listed([*names], 'or')}" if len(names) <= 3 else f" into {len(names)} classes"


def _uncompared(figures: SuiteFigures, finished: list[RowFigures]) -> Answer:
    """The primary metric of each row, if they could not be compared."""
    record = finished[0].record
    texts = record.metrics.test.n if record is not None and record.metrics is not None else 0
    parts = []
    for row in finished:
        metric = figures.metrics.primary
        if math.isfinite(row.score):
            interval = (
                f" (95 % interval {metric_range(metric, *row.interval)})" if row.interval else ""
            )
            parts.append(f"{capital(row_name(row))}: {metric_text(metric, row.score)}{interval}.")
    several = len(finished) > 1
    why = "There is nothing to compare it with, so no difference was tested."
    if several:
        why = "The rows could not be compared; the notes under Conditions explain why."
    headline, *rest = parts or ["No row has results on the test texts."]
    return Answer(_question(figures, texts), headline, (*rest, why), (), frozenset())


def _over_datasets(ranks: Ranks) -> Answer:
    """Which method ranks best over several data sets."""
    count = len(ranks.datasets)
    best = ranks.methods[0]
    cards = [Card("best mean rank", f"{best.mean_rank:.2f}", f"{best.name}, {count} data sets")]
    tied = [each for each in ranks.methods if each.verdict == "no difference shown"]
    if ranks.test is not None:
        number = f"{len(tied)} of {len(ranks.methods) - 1}"
        cards.append(Card("statistically tied with the best", number, test_text(ranks)))
    return Answer(
        f"Which of {len(ranks.methods)} methods ranks best over {count} data sets?",
        ranks_headline(ranks),
        tuple(ranks_sentences(ranks)),
        tuple(cards),
        frozenset(label for each in (best, *tied) for label in each.rows if ranks.test),
    )


class _Sentences:
    """Builds the answer from a comparison."""

    def __init__(self, figures: SuiteFigures, comparison: RunComparison) -> None:
        self.figures, self.comparison = figures, comparison
        self.metric = comparison.metric
        self.rows = {
            row.contender.name: row for row in reversed(figures.rows) if row.contender is not None
        }
        found = suite_headline(figures)
        assert found is not None
        self.headline = found
        self.ranked = trained(comparison)
        self.best = self.ranked[0]
        self.against = {
            each.name: standing(comparison, each.name, self.best.name)
            for each in comparison.contenders
            if each is not self.best
        }
        self.left_out = [
            row.row.label for row in figures.rows if row.runs and row.contender is None
        ]
        others = self.ranked[1:]
        self.worse = [c for c in others if self._verdict(c) == "worse"]
        self.tied = [c for c in others if self._verdict(c) != "worse"]

    def answer(self) -> Answer:
        tied = [self.best, *self.tied]
        return Answer(
            question=_question(self.figures, self.comparison.texts),
            headline=self.headline.sentence,
            sentences=tuple(
                filter(
                    None,
                    (self._rows(), self._baseline(), self._tuning(), self._limits()),
                )
            ),
            cards=tuple(self._cards()),
            tied=frozenset(label for each in tied for label in self._labels(each)),
            recommended=self.headline.contender,
            costs=self._costs(),
        )

    # --- sentences ---

    def _rows(self) -> str:
        parts = []
        interval = self._interval(self.best)
        several = len(self.best.seeds) >= FEWEST_SEEDS
        what = "over texts and seeds" if several else "over texts"
        if self.headline.contender is not self.best:
            name, score = capital(self._name(self.best)), self._score(self.best)
            parts.append(f"{name} has the {superlative(self.metric)} of the rows, {score}.")
        unit = " %" if self.metric.unit == "%" else ""
        parts.append(f"Its 95 % interval {what} is {interval}{unit}.")
        if self.tied:
            parts.append(f"Not significantly different from it: {self._listed(self.tied)}.")
        smallest = smallest_significant(self.comparison)
        if self.tied and smallest is not None:
            parts.append(
                "That does not mean that they are equal: the smallest significant difference "
                f"between any two in the table is {metric_difference(self.metric, smallest)[1:]}."
            )
        if self.worse:
            parts.append(f"Significantly worse: {self._listed(self.worse)}.")
        return " ".join(parts)

    def _baseline(self) -> str:
        found = baselines(self.comparison)
        if not found:
            lacking = any(not each.runs for each in self.comparison.contenders)
            needs = f"No baseline has {self.metric.header}, which needs probabilities."
            return needs if lacking else "No baseline was run."
        top = found[0]
        seconds = top.baseline_seconds
        took = f" in {duration_text(seconds)}" if seconds is not None else ""
        name = f"{self._title(top)} ({self._score(top)}{took})"
        pair = self.against[top.name]
        beaten = [c for c in self.ranked if self._beats(c, top)]
        count = f"{len(beaten)} of {len(self.ranked)} rows" if beaten else "No row"
        better = f"{count} {'are' if len(beaten) > 1 else 'is'} significantly better than it."
        if pair is None:
            return f"{name} could not be tested against {self._name(self.best)}."
        if pair.verdict == "better":
            wins = f"{name} is significantly better than the best row, by {self._by(pair)}."
            return f"A baseline wins: {wins}"
        if pair.verdict == "worse":
            rest = "" if len(self.ranked) == 1 else f" {better}"
            worse = f"{name} is significantly worse than the best row, by {self._by(pair)}."
            return f"Fine-tuning pays off: {worse}{rest}"
        advantage = self.metric.order(self.best.score) - self.metric.order(top.score)
        if advantage > 0.5 / self.comparison.texts:  # for the accuracy, half a text
            ahead = metric_difference(self.metric, advantage)[1:]
            return (
                f"A baseline may be better: {name} is {ahead} ahead of the best row, but the "
                f"difference is not significant. {better}"
            )
        return (
            f"A baseline may be as good: {name} is not significantly different from the best row. "
            f"{better}"
        )

    def _costs(self) -> str:
        tuned = self.rows.get(self.headline.contender.name)
        found = recommend(self.comparison, costs_with_tuning(self.figures))
        text = recommendation_text(
            found,
            self.metric,
            self._any_name,
            tuned.choice.trials if tuned is not None and tuned.choice is not None else None,
        )
        reused = [each for each in self.ranked if each.prefix_found]
        if reused:
            takes = "it takes" if len(reused) == 1 else "they take"
            text += (
                f" {capital(self._listed(reused))} reused cached activations from an earlier run; "
                f"from scratch {takes} longer."
            )
        return text

    def _tuning(self) -> str:
        tune, found = self.figures.results.tune, choices(self.figures)
        if tune is None or not found:
            return ""
        costs = [each.cost.seconds for each in found if each.cost.seconds is not None]
        return " ".join((
            tuning_text(
                tune, found[0].trials, found[0].metric.header, found[0].metric.better == "lower"
            ),
            f"With all trials, the rows took {duration_text(sum(costs))} of training.",
            *(f"{note}." for note in edge_notes(found, tune)),
        ))  # fmt: skip

    def _limits(self) -> str:
        parts = []
        if self.left_out:
            which = ("row " if len(self.left_out) == 1 else "rows ") + listed(self.left_out)
            parts.append(
                f"Not part of the comparison: {which}; the notes under Conditions explain why."
            )
        if len(self.ranked) > 1:
            parts.append(
                f"The best of {len(self.ranked)} results is slightly optimistic; expect a little "
                f"{'less' if self.metric.better == 'higher' else 'more'} on new texts."
            )
        if all(len(each.seeds) < 2 for each in self.ranked):
            parts.append(
                "Each row was trained with one seed, so the verdicts hold for these classifiers "
                "only; another seed could change the order (check with --seeds 123,124,125)."
            )
        return " ".join(parts)

    def _cards(self) -> list[Card]:
        best = self.best
        order = self.metric.order
        highest = min((best, *baselines(self.comparison)), key=lambda each: order(each.score))
        whose = self._name(best) if highest is best else self._title(highest)
        interval = f", 95 % interval {self._interval(highest)}"
        cards = [Card(superlative(self.metric), self._score(highest), whose + interval)]
        if self.ranked[1:]:
            cards.append(
                Card(
                    "statistically tied with the best row",
                    f"{len(self.tied)} of {len(self.ranked) - 1}",
                    "other rows, by paired tests with Holm’s correction",
                )
            )
        for top in baselines(self.comparison)[:1]:
            seconds = top.baseline_seconds
            took = f" in {duration_text(seconds)}" if seconds is not None else ""
            results = {
                None: "not tested against",
                "no difference shown": "statistically tied with",
                "better": "significantly better than",
                "worse": "significantly worse than",
            }
            result = results[self._verdict(top)]
            detail = f"{self._title(top)}{took}, {result} the best row"
            cards.append(Card("best baseline", self._score(top), detail))
        fastest = self._fastest() or best
        seconds = fastest.prefix_and_training_seconds
        if seconds is not None:
            what = "training time of the best row"
            if fastest is not best:
                what = "fastest of the tied rows"
            detail = f"{self._name(fastest)}, {self._score(fastest)}"
            mark = FOUND if fastest.prefix_found else ""
            cards.append(Card(what, duration_text(seconds) + mark, detail))
        return cards

    # --- contenders ---

    def _score(self, each: Contender) -> str:
        return metric_text(self.metric, each.score)

    def _interval(self, each: Contender) -> str:
        return metric_range(self.metric, *each.interval) if each.interval else "unknown"

    def _by(self, pair: Pair) -> str:
        assert pair.found is not None
        return difference_text(pair.found, self.metric)

    def _verdict(self, each: Contender) -> str | None:
        pair = self.against[each.name]
        return pair.verdict if pair is not None else None

    def _beats(self, each: Contender, baseline: Contender) -> bool:
        pair = standing(self.comparison, each.name, baseline.name)
        return pair is not None and pair.verdict == "better"

    def _fastest(self) -> Contender | None:
        """The fastest contender tied with the best; ``None`` if that is the best itself."""
        timed = [
            (s, c)
            for c in (self.best, *self.tied)
            if (s := c.prefix_and_training_seconds) is not None and not c.prefix_found
        ]
        if not timed:
            return None
        fastest = min(timed, key=lambda found: found[0])[1]
        return fastest if fastest is not self.best else None

    def _name(self, each: Contender) -> str:
        row = self.rows.get(each.name)
        return row_name(row) if row is not None else each.name

    def _any_name(self, each: Contender) -> str:
        return self._name(each) if each.runs else self._title(each)

    def _title(self, baseline: Contender) -> str:
        return baseline_title(self.comparison, baseline)

    def _labels(self, each: Contender) -> list[str]:
        return [
            row.row.label
            for row in self.figures.rows
            if row.contender is not None and row.contender.name == each.name
        ]

    def _listed(self, found: list[Contender]) -> str:
        labels = [label for row in self.figures.rows for c in found
                  if row.contender is c for label in [row.row.label]]  # fmt: skip
        return ("row " if len(labels) == 1 else "rows ") + listed(labels)
