"""The answer in words: which row is best, what is shown of the others, and what it costs."""

from __future__ import annotations

from typing import NamedTuple

from clsbench.analysis.comparison import Contender, Pair, RunComparison
from clsbench.analysis.seeds import FEWEST_SEEDS
from clsbench.analysis.standing import baseline_title, baselines, smallest_shown, standing, trained
from clsbench.analysis.suite_figures import RowFigures, SuiteFigures
from clsbench.report.terminal.comparison import difference_text
from clsbench.report.terminal.headline import row_name, suite_headline
from clsbench.report.wording import FOUND, listed, percent, percent_interval, points
from clsbench.schema.quantities import duration_text


class Card(NamedTuple):
    """A number that answers a part of the question, and what it is."""

    label: str
    figure: str
    detail: str


class Answer(NamedTuple):
    """The question, the answer in one sentence, what belongs to it, and its numbers."""

    question: str
    headline: str
    sentences: tuple[str, ...]
    cards: tuple[Card, ...]
    alike: frozenset[str]
    """The labels of the rows not significantly different from the best, itself included."""


def answer(figures: SuiteFigures) -> Answer:
    """What may be said of the rows of a suite, and no more."""
    finished = [row for row in figures.rows if row.runs]
    if not finished:
        return Answer(
            _question(figures, 0), "No row has finished yet: there is no answer.", (), (),
            frozenset(),
        )  # fmt: skip
    comparison = figures.comparison
    if comparison is None:
        return _of_one(figures, finished)
    return _Told(figures, comparison).answer()


def _question(figures: SuiteFigures, texts: int) -> str:
    finished = sum(
        bool(row.runs)
        and row.row.same_as is None
        and (row.contender is not None or figures.comparison is None)
        for row in figures.rows
    )
    names = _classes(figures)
    whom = f"{texts:,} test texts" if texts else "the test texts"
    what = f"sorts {whom} into {names}" if names else f"classifies {whom}"
    if finished > 1:
        return f"Which of {finished} ways of training {what} best, and what does it cost?"
    return f"How well does it do when it {what}, and what does it cost?"


def _classes(figures: SuiteFigures) -> str:
    record = next((row.record for row in figures.rows if row.record is not None), None)
    if record is None or record.data is None:
        return ""
    names = record.data.class_names
    return listed(list(names)) if len(names) <= 3 else f"{len(names)} classes"


def _of_one(figures: SuiteFigures, finished: list[RowFigures]) -> Answer:
    """Rows that could not be compared are told one by one."""
    record = finished[0].record
    texts = record.metrics.test.n if record is not None and record.metrics is not None else 0
    parts = []
    for row in finished:
        if "test" in row.accuracy:
            spread = f" (95 %: {percent_interval(row.interval)})" if row.interval else ""
            parts.append(f"{row_name(row)}: {percent(row.accuracy['test'].mean)}{spread}")
    several = len(finished) > 1
    sentences = ["There was nothing to compare with, so no verdict is given."]
    if several:
        sentences = ["The rows could not be compared; the notes say why."]
    headline = parts[0] if parts else "No row has figures on the test texts."
    return Answer(
        _question(figures, texts), headline + ".", (*parts[1:], *sentences), (), frozenset()
    )


class _Told:
    """The sentences about one comparison."""

    def __init__(self, figures: SuiteFigures, comparison: RunComparison) -> None:
        self.figures, self.comparison = figures, comparison
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
        self.alike = [c for c in others if self._verdict(c) != "worse"]

    def answer(self) -> Answer:
        same = [self.best, *self.alike]
        return Answer(
            question=_question(self.figures, self.comparison.texts),
            headline=self.headline.sentence,
            sentences=tuple(
                filter(None, (self._who(), self._baseline(), self._cost(), self._caution()))
            ),
            cards=tuple(self._cards()),
            alike=frozenset(label for each in same for label in self._labels(each)),
        )

    # --- sentences ---

    def _who(self) -> str:
        parts = []
        interval = percent_interval(self.best.interval)
        several = len(self.best.seeds) >= FEWEST_SEEDS
        what = "over texts and seeds" if several else "over texts"
        if self.headline.contender is not self.best:
            name, accuracy = _capital(self._name(self.best)), percent(self.best.accuracy)
            parts.append(f"{name} has the highest accuracy of the rows, {accuracy}.")
        parts.append(f"Its 95 % interval {what} is {interval} %.")
        if self.alike:
            parts.append(f"Not significantly different from it: {self._listed(self.alike)}.")
        if self.worse:
            parts.append(f"Significantly worse: {self._listed(self.worse)}.")
        smallest = smallest_shown(self.comparison)
        if self.alike and smallest is not None:
            parts.append(
                "That does not mean equal: the smallest significant difference found on these "
                f"texts is {points(smallest)[1:]}."
            )
        return " ".join(parts)

    def _baseline(self) -> str:
        found = baselines(self.comparison)
        if not found:
            return "No baseline was run beside them."
        top = found[0]
        seconds = top.baseline_seconds
        took = f" in {duration_text(seconds)}" if seconds is not None else ""
        name = f"{self._title(top)} ({percent(top.accuracy)}{took})"
        stands = self.against[top.name]
        beaten = [c for c in self.ranked if self._beats(c, top)]
        count = f"{len(beaten)} of {len(self.ranked)} rows"
        if stands is None:
            return f"{name} could not be tested against {self._name(self.best)}."
        if stands.verdict == "better":
            told = f"{name} is significantly better than the best row, by {_by(stands)}."
            return f"A baseline wins: {told}"
        if stands.verdict == "worse":
            rest = "" if len(self.ranked) == 1 else f" {count} are significantly better than it."
            told = f"{name} is significantly worse than the best row, by {_by(stands)}."
            return f"Fine-tuning pays off: {told}{rest}"
        told = f"{count if beaten else 'No rows'} are significantly better than it."
        if top.accuracy - self.best.accuracy > 0.5 / self.comparison.texts:  # half a text
            ahead = (
                f"{name} is {points(top.accuracy - self.best.accuracy)[1:]} ahead of the best row, "
                "which is not significant."
            )
            return f"A baseline may do better: {ahead} {told}"
        return (
            f"A baseline may do as well: {name} is not significantly different from the best row. "
            f"{told}"
        )

    def _cost(self) -> str:
        parameters, seconds = self.best.trainable_parameters, self.best.prefix_and_training_seconds
        if seconds is None:
            return ""
        trains = f"trains {parameters:,} parameters" if parameters is not None else "was trained"
        told = f"{_capital(self._name(self.best))} {trains} in {duration_text(seconds)}."
        quickest = self._quickest()
        if quickest is not None:
            less = quickest.prefix_and_training_seconds
            assert less is not None
            count = quickest.trainable_parameters
            what = f" and {count:,} parameters" if count is not None else ""
            told += (
                " The fastest row that is not significantly different from it is "
                f"{self._name(quickest)}: {percent(quickest.accuracy)} with {duration_text(less)}"
                f"{what}."
            )
        if self.best.prefix_found:
            told += (
                f" {_capital(self._listed([self.best]))} reused cached activations from an earlier "
                "run; from scratch it takes longer."
            )
        passed_by = [each for each in self.alike if each.prefix_found]
        if passed_by:
            told += (
                f" The time of {self._listed(passed_by)} from scratch is not known, since cached "
                "activations were reused."
            )
        return told

    def _caution(self) -> str:
        told = []
        if self.left_out:
            which = ("row " if len(self.left_out) == 1 else "rows ") + listed(self.left_out)
            told.append(f"Not part of the comparison: {which}; the notes say why.")
        if len(self.ranked) > 1:
            told.append(
                f"The best of {len(self.ranked)} results is slightly optimistic; expect a little "
                "less on new texts."
            )
        if all(len(each.seeds) < 2 for each in self.ranked):
            told.append(
                "Each row was trained with one seed, so the verdicts hold for these classifiers "
                "only; another seed could change the order (check with --seeds 123,124,125)."
            )
        return " ".join(told)

    def _cards(self) -> list[Card]:
        best = self.best
        highest = max((best, *baselines(self.comparison)), key=lambda each: each.accuracy)
        whose = self._name(best) if highest is best else self._title(highest)
        interval = f", 95 % {percent_interval(highest.interval)}"
        cards = [Card("highest accuracy", percent(highest.accuracy), whose + interval)]
        if self.ranked[1:]:
            cards.append(
                Card(
                    "statistically tied with the best row",
                    f"{len(self.alike)} of {len(self.ranked) - 1}",
                    "other rows, by paired tests with Holm’s correction",
                )
            )
        for top in baselines(self.comparison)[:1]:
            seconds = top.baseline_seconds
            took = f" in {duration_text(seconds)}" if seconds is not None else ""
            verdict = {None: "not tested", "no difference shown": "statistically tied"}
            stands = self.against[top.name]
            word = stands.verdict if stands is not None else None
            shown = verdict.get(word, f"significantly {word}")
            detail = f"{self._title(top)}{took}: {shown}"
            cards.append(Card("best baseline", percent(top.accuracy), detail))
        quickest = self._quickest() or best
        seconds = quickest.prefix_and_training_seconds
        if seconds is not None:
            what = (
                "fastest of the tied rows" if quickest is not best else "training time of the best"
            )
            detail = f"{self._name(quickest)}, {percent(quickest.accuracy)}"
            mark = FOUND if quickest.prefix_found else ""
            cards.append(Card(what, duration_text(seconds) + mark, detail))
        return cards

    # --- whom it is about ---

    def _verdict(self, each: Contender) -> str | None:
        stands = self.against[each.name]
        return stands.verdict if stands is not None else None

    def _beats(self, each: Contender, baseline: Contender) -> bool:
        stands = standing(self.comparison, each.name, baseline.name)
        return stands is not None and stands.verdict == "better"

    def _quickest(self) -> Contender | None:
        """Of those statistically tied with the best, unless the best itself is the quickest."""
        timed = [
            (s, c)
            for c in (self.best, *self.alike)
            if (s := c.prefix_and_training_seconds) is not None and not c.prefix_found
        ]
        if not timed:
            return None
        quickest = min(timed, key=lambda found: found[0])[1]
        return quickest if quickest is not self.best else None

    def _name(self, each: Contender) -> str:
        row = self.rows.get(each.name)
        return row_name(row) if row is not None else each.name

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


def _by(pair: Pair) -> str:
    assert pair.found is not None
    return difference_text(pair.found)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
