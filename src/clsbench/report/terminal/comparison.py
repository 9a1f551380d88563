"""Terminal output of a comparison: metrics, pairwise tests, and texts with disagreement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.text import Text

from clsbench.analysis.row_figures import contender_figures
from clsbench.analysis.sides import BASELINE
from clsbench.analysis.standing import baseline_title
from clsbench.report.terminal.console import Console
from clsbench.report.terminal.headline import headline
from clsbench.report.terminal.layout import Row, fitting_table
from clsbench.report.terminal.rows import rows_table
from clsbench.report.wording import (
    REUSED,
    difference_text,
    interval_ends,
    listed,
    metric_difference,
    plain,
    shortened_text,
)
from clsbench.system.printable import printable

if TYPE_CHECKING:
    from clsbench.analysis.comparison import Contender, Disagreement, Pair, RunComparison
    from clsbench.analysis.figures import MetricInfo, ShownMetrics
    from clsbench.analysis.paired import Difference
    from clsbench.components.values import TextPair

_MOST_PAIRS = 10
"""With more pairs, only those with the first contender are shown."""
_MOST_NAMES = 4
_ONE_SEED = (
    "Tests with one seed are valid for these trained classifiers only; use several seeds to "
    "generalize."
)
_TEXT_CHARACTERS = 160

_PAIRS = ("difference", "95 % interval", "corrected p", "only first right", "only second right")
_OPTIONAL_IN_PAIRS = ("only second right", "only first right", "95 % interval")


def print_comparison(
    console: Console,
    comparison: RunComparison,
    metrics: ShownMetrics,
    texts: Mapping[int, str | TextPair] | None,
    most_texts: int,
) -> None:
    """Print the contenders, the result of each pairwise test, and texts on which they disagree.

    ``metrics`` are those of the comparison. ``texts`` are the corpus texts by row, ``None`` if the
    corpus is unavailable. At most ``most_texts`` disagreements are printed.
    """
    by_stand_in: dict[str, list[str]] = {}
    for contender in comparison.contenders:
        for stand_in in contender.stand_ins:
            by_stand_in.setdefault(stand_in, []).append(contender.name)
    for stand_in, names in by_stand_in.items():
        whose = "all runs" if len(names) == len(comparison.contenders) else ", ".join(names)
        message = f"STAND-IN: {stand_in} in {whose}: not the real experiment"
        console.prose(message, "yellow")
    for note in _notes(comparison):
        console.prose(note, "yellow")
    found = [(_label(each), contender_figures(each)) for each in best_first(comparison)]
    title = f"{comparison.texts:,} test texts"
    width = console.width
    console.print(rows_table(title, [found], metrics, width, "--json"))
    if any(each.prefix_found for each in comparison.contenders):
        console.prose(REUSED, "dim")
    tested = _with_scores(comparison)
    pairs = _shown_pairs(comparison, tested)
    rows = [_pair_row(pair, comparison.metric) for pair in pairs]
    title = "first – second"
    if rows:
        console.print(fitting_table(title, _PAIRS, [rows], width, _OPTIONAL_IN_PAIRS, "--json"))
    for pair in pairs:
        console.prose(verdict_text(pair, comparison.metric))
    if any(map(_of_one_seed, pairs)):
        console.prose(_ONE_SEED, "dim")
    if len(pairs) < len(tested):
        first, hidden = comparison.contenders[0].name, len(tested) - len(pairs)
        shown = f"Only pairs with {first} are shown"
        message = f"{shown}. Holm's correction includes {hidden} more pairs; --json shows them."
        console.prose(message, "dim")
    _print_disagreements(console, comparison, texts, most_texts)
    message = headline(comparison, lambda each: each.name).sentence
    console.prose(message, "bold")


def verdict_text(pair: Pair, metric: MetricInfo) -> str:
    """The result of a pairwise test in words."""
    found = pair.found
    if found is None or pair.p_corrected is None:
        return f"{pair.b} against {pair.a}: not compared, because they have no seed in common."
    differing = found.only_a + found.only_b
    counts = f"Exactly one is right on {_texts(differing, found)} of {found.texts:,} texts"
    if found.seeds > 1:
        counts += f" on average over {found.seeds} seeds"
    if pair.unpaired_seeds:
        counts += f" (without {_unpaired_text(pair)})"
    if differing:
        counts += f": the first on {_texts(found.only_b, found)}, "
        counts += f"the second on {_texts(found.only_a, found)}"
    if pair.verdict == "no difference shown":
        return f"{pair.b} against {pair.a}: no significant difference. {counts}."
    by = difference_text(found, metric)
    return f"{pair.b} is significantly {pair.verdict} than {pair.a}, by {by}. {counts}."


def _of_one_seed(pair: Pair) -> bool:
    """Whether the test is of a single trained classifier, not of several seeds."""
    trained = not (pair.a.startswith(BASELINE) and pair.b.startswith(BASELINE))
    return trained and pair.found is not None and pair.found.seeds == 1


def comparison_notes(comparison: RunComparison) -> list[str]:
    """Limits of a comparison: different training texts, devices, threads, features or seeds."""
    return [*_notes(comparison), *_unpaired_notes(comparison)]


def _notes(comparison: RunComparison) -> list[str]:
    """Those that the text of a pair does not have."""
    return [
        *training_notes(comparison),
        *timing_notes(comparison),
        *_features_notes(comparison),
    ]


def timing_notes(comparison: RunComparison) -> list[str]:
    """A note if times were measured on different devices or with different numbers of threads."""
    places: dict[str, list[str]] = {}
    for each in comparison.contenders:
        for place in each.timed_on:
            places.setdefault(place, []).append(each.name)
    if len(places) < 2:
        return []
    parts = [f"{place} ({_some(names)})" for place, names in places.items()]
    return [f"Times are not comparable: they were measured on {'; '.join(parts)}."]


def _some(names: list[str]) -> str:
    if len(names) <= _MOST_NAMES:
        return listed(names)
    return f"{', '.join(names[:_MOST_NAMES])} and {len(names) - _MOST_NAMES} more"


def training_notes(comparison: RunComparison) -> list[str]:
    """A note if the runs differ in their training or validation texts."""
    if not comparison.differing_splits:
        return []
    splits = " and ".join(comparison.differing_splits)
    note = f"The test texts are the same, but the runs have different {splits} texts"
    if "train" in comparison.differing_splits:
        note += "; the baselines are those of the run with the most training texts"
    return [f"{note}."]


def _features_notes(comparison: RunComparison) -> list[str]:
    """Notes on baselines that predict differently in other runs, with other features."""
    return [
        f"The runs have different features, so the predictions of "
        f"{baseline_title(comparison, each)} differ; those of {each.predicted_in} are used."
        for each in comparison.contenders
        if each.predicted_in
    ]


def _unpaired_notes(comparison: RunComparison) -> list[str]:
    """A note on pairs that were run with different seeds, if there are any."""
    found = [pair for pair in comparison.pairs if pair.unpaired_seeds and pair.found is not None]
    if not found:
        return []
    count = "1 pair is" if len(found) == 1 else f"{len(found)} pairs are"
    return [
        f"{count} compared only on the seeds that both sides have, for example {found[0].a} and "
        f"{found[0].b} without {_unpaired_text(found[0])}: such a difference is not the difference "
        f"of the values shown ({comparison.metric.header})."
    ]


def _unpaired_text(pair: Pair) -> str:
    """``seed 123, which only one of them has``."""
    seeds = [str(seed) for seed in pair.unpaired_seeds]
    return f"seed{'s' if len(seeds) > 1 else ''} {listed(seeds)}, which only one of them has"


def _texts(count: float, found: Difference) -> str:
    """A number of texts, which over several seeds is a mean."""
    return f"{count:g}" if found.seeds == 1 else f"{count:.1f}"


def best_first(comparison: RunComparison) -> list[Contender]:
    """The contenders in the order of the primary metric, those without it last."""
    return sorted(comparison.contenders, key=lambda each: comparison.metric.order(each.score))


def _with_scores(comparison: RunComparison) -> list[Pair]:
    """The pairs of which both sides have the primary metric."""
    lacking = {each.name for each in comparison.contenders if each.score is None}
    return [pair for pair in comparison.pairs if not {pair.a, pair.b} & lacking]


def _shown_pairs(comparison: RunComparison, tested: list[Pair]) -> list[Pair]:
    if len(tested) <= _MOST_PAIRS:
        return tested
    first = comparison.contenders[0].name
    return [pair for pair in tested if pair.a == first]


def _label(each: Contender) -> Text:
    return plain(each.name if len(each.seeds) < 2 else f"{each.name} ({len(each.seeds)} seeds)")


def _pair_row(pair: Pair, metric: MetricInfo) -> Row:
    label = plain(f"{pair.b} – {pair.a}")
    if pair.found is None or pair.p_corrected is None:
        return Row(label, ("–",) * len(_PAIRS))
    found = pair.found
    low, high = interval_ends(found, metric, "+")
    cells = (
        metric_difference(metric, found.difference),
        f"{low} to {high}",
        f"{pair.p_corrected:.3f}" if pair.p_corrected >= 0.001 else "< 0.001",
        _texts(found.only_b, found),
        _texts(found.only_a, found),
    )
    return Row(label, cells)


def _print_disagreements(
    console: Console,
    comparison: RunComparison,
    texts: Mapping[int, str | TextPair] | None,
    most: int,
) -> None:
    found = comparison.disagreements
    shown = found[:most]
    if not shown:
        return
    console.print()
    console.prose(f"Texts on which they disagree ({len(shown)} of {len(found)}):", "bold")
    if texts is None:
        message = "The corpus is not available, so only the position of each text in it is shown "
        console.prose(f"{message}(--assets DIR names its folder).", "yellow")
    for each in shown:
        _print_disagreement(console, each, texts)


def _print_disagreement(
    console: Console, each: Disagreement, texts: Mapping[int, str | TextPair] | None
) -> None:
    by_class: dict[str, list[str]] = {}
    for name, predicted in each.predicted.items():
        by_class.setdefault(predicted, []).append(name)
    console.prose(f"text {each.row} ({each.label})")
    if texts is not None:
        text = printable(shortened_text(texts[each.row], _TEXT_CHARACTERS))
        console.prose(f"  {text}", "dim")
    for predicted, names in by_class.items():
        console.prose(f"  predicted {predicted}: {'; '.join(names)}")
