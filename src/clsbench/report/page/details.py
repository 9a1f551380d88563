"""Details of rows: time by phase, confusion matrices, misclassified texts, environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from clsbench.analysis.mistakes import Mistakes, WrongPrediction
from clsbench.components.values import Text
from clsbench.report.wording import dropped_text, percent, shortened_text
from clsbench.schema.quantities import duration_text, size_text
from clsbench.schema.record import ComponentIdentity, LabelCounts, RunRecord

MOST_TEXTS = 150
"""At most so many misclassified texts are shown, those that most rows get wrong."""
_TEXT_CHARACTERS = 320
_WIDEST_MATRIX = 8
_MOST_CONFUSIONS = 8


class Slice(NamedTuple):
    """A phase in a bar: its start and length in percent of the longest run."""

    phase: str
    start: float
    length: float
    text: str


class PhaseBar(NamedTuple):
    """The time of a row by phase."""

    title: str
    total: str
    slices: tuple[Slice, ...]


class Phases(NamedTuple):
    """The bars of all rows on one scale, and the names of the phases in order."""

    names: tuple[str, ...]
    bars: tuple[PhaseBar, ...]


class Confusion(NamedTuple):
    """A confusion matrix; rows: true class, columns: predicted class.

    With many classes ``counts`` is empty, and ``frequent`` holds the most frequent mistakes.
    """

    title: str
    counts: tuple[tuple[int, ...], ...]
    shades: tuple[tuple[int, ...], ...]
    frequent: tuple[tuple[str, str, int], ...]


class LabelFigures(NamedTuple):
    """Figures of each label of multi-label data: its name, texts, precision, recall, F1 and
    threshold."""

    title: str
    lines: tuple[tuple[str, ...], ...]


class Wrong(NamedTuple):
    """A misclassified text; ``text`` is ``None`` if the corpus is unavailable."""

    row: int
    label: str
    text: str | None
    wrong: int
    rows: str
    baselines: str
    predicted: str


class WrongTexts(NamedTuple):
    """The misclassified texts that are shown, out of ``total``.

    Of all ``texts`` test texts, ``never`` are right in every row and ``always`` wrong in
    every row.
    """

    shown: tuple[Wrong, ...]
    total: int
    texts: int
    never: int
    always: int
    rows: int
    with_texts: bool


class Fact(NamedTuple):
    """A line of the conditions; several ``values`` if the rows differ."""

    name: str
    values: tuple[str, ...]


def phases(rows: Sequence[tuple[str, RunRecord]]) -> Phases | None:
    """One stacked bar per row."""
    rows = [(title, record) for title, record in rows if record.phases_seconds]
    longest = max((sum(r.phases_seconds.values()) for _, r in rows), default=0.0)
    if not longest:
        return None
    names = tuple(dict.fromkeys(name for _, r in rows for name in r.phases_seconds))
    bars = []
    for title, record in rows:
        start, slices = 0.0, []
        for name in names:
            seconds = record.phases_seconds.get(name, 0.0)
            length = 100 * seconds / longest
            if length > 0:
                slices.append(
                    Slice(
                        name, round(start, 2), round(length, 2), f"{name} {duration_text(seconds)}"
                    )
                )
            start += length
        total = duration_text(sum(record.phases_seconds.values()))
        bars.append(PhaseBar(title, total, tuple(slices)))
    return Phases(names, tuple(bars))


def confusion(title: str, counts: Sequence[Sequence[int]], names: Sequence[str]) -> Confusion:
    """A matrix with shades from 0 to 9 by the share of the true class, or frequent mistakes."""
    if len(names) > _WIDEST_MATRIX:
        wrong = [
            (names[i], names[j], n)
            for i, line in enumerate(counts)
            for j, n in enumerate(line)
            if i != j and n
        ]
        frequent = sorted(wrong, key=lambda found: -found[2])[:_MOST_CONFUSIONS]
        return Confusion(title, (), (), tuple(frequent))
    shades = tuple(tuple(round(9 * n / (sum(line) or 1)) for n in line) for line in counts)
    return Confusion(title, tuple(tuple(line) for line in counts), shades, ())


def label_figures(
    title: str,
    counts: Sequence[LabelCounts],
    names: Sequence[str],
    thresholds: Mapping[str, float] | None = None,
) -> LabelFigures:
    """The figures of each label on the test texts; a baseline has no thresholds."""
    lines = []
    for name, each in zip(names, counts, strict=True):
        threshold = thresholds.get(name) if thresholds is not None else None
        shares = (each.precision, each.recall, each.f1, threshold)
        numbers = ("-" if share is None else f"{share:.4f}" for share in shares)
        lines.append((name, f"{each.support:,}", *numbers))
    return LabelFigures(title, tuple(lines))


def wrong_texts(found: Mistakes, texts: Mapping[int, Text] | None) -> WrongTexts:
    """The texts that most rows get wrong, and which rows do."""
    shown = []
    for each in found.found[:MOST_TEXTS]:
        text = texts.get(each.row) if texts is not None else None
        shown.append(
            Wrong(
                row=each.row,
                label=each.label,
                text=shortened_text(text, _TEXT_CHARACTERS) if text is not None else None,
                wrong=len(each.by_run),
                rows=", ".join(each.by_run),
                baselines=", ".join(name.partition(":")[0] for name in each.by_baseline),
                predicted=_predicted(list(each.by_run.values())),
            )
        )
    always = sum(len(each.by_run) == len(found.names) for each in found.found)
    return WrongTexts(
        tuple(shown),
        len(found.found),
        found.texts,
        found.texts - len(found.found),
        always,
        len(found.names),
        texts is not None,
    )


def _predicted(mistakes: Sequence[WrongPrediction]) -> str:
    """The predicted classes with confidence: ``spam (62–99 % confidence)``."""
    by_class: dict[str, list[float]] = {}
    for each in mistakes:
        found = by_class.setdefault(each.predicted, [])
        found += [each.confidence] if each.confidence is not None else []
    parts = []
    for name, confidences in by_class.items():
        if not confidences:  # several labels have no one confidence
            parts.append(name)
            continue
        low, high = round(100 * min(confidences)), round(100 * max(confidences))
        parts.append(f"{name} ({low if low == high else f'{low}–{high}'} % confidence)")
    return "; ".join(parts)


def environment_facts(records: Sequence[RunRecord]) -> tuple[Fact, ...]:
    """The environment; several values if the rows were run in different ones."""

    def distinct(values: Sequence[str | None]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(value for value in values if value))

    environments = [record.environment for record in records]
    facts: list[tuple[str, list[str | None]]] = [
        ("device", [f"{e.device} ({e.device_name})" for e in environments]),
        ("precision", [e.precision for e in environments]),
        ("CPU threads", [str(e.threads) for e in environments]),
        ("processor", [f"{e.cpu}, {e.cpu_count} logical CPUs" for e in environments]),
        ("memory", [size_text(e.memory_bytes) for e in environments]),
        ("GPUs", [", ".join(e.gpus) for e in environments]),
        ("CUDA", [e.cuda for e in environments]),
        ("platform", [e.platform for e in environments]),
        ("Python", [e.python for e in environments]),
        ("torch", [e.torch for e in environments]),
        ("clsbench", [e.clsbench for e in environments]),
        ("git commit", [e.git_commit for e in environments]),
        (
            "components from",
            [", ".join(dict.fromkeys(map(_origin, r.plugins))) for r in records],
        ),
        ("started", [_between([r.created for r in records])]),
    ]
    return tuple(Fact(name, distinct(values)) for name, values in facts if distinct(values))


def _origin(component: ComponentIdentity) -> str:
    source = component.source_sha256
    which = component.version or (f"source {source[:8]}" if source else "")
    return f"{component.distribution} {which}".strip()


def _between(times: Sequence[str]) -> str:
    first, last = min(times, default=""), max(times, default="")
    return first if first == last else f"{first} to {last}"


def data_facts(record: RunRecord) -> tuple[Fact, ...]:
    """The data that the rows were trained and tested on."""
    data = record.data
    if data is None:
        return ()
    sizes = ", ".join(f"{n:,} {name}" for name, n in data.sizes.items())
    facts = [
        Fact("text pairs" if data.text_pairs else "texts", (sizes,)),
        *([Fact("left out", (dropped_text(data.dropped),))] if data.dropped else []),
        Fact("classes", (", ".join(data.class_names[:20]),)),
        Fact(
            "test texts by class",
            (", ".join(f"{n:,} {name}" for name, n in data.class_counts.get("test", {}).items()),),
        ),
        Fact("maximum length", (f"{data.max_length:,} tokens per text",)),
        Fact("padding", (f"{percent(data.padding_fraction)} of the training tokens",)),
        Fact(
            "leaked texts",
            (
                f"{data.leaked.test:,} of the test texts and {data.leaked.validation:,} of the "
                "validation texts occur word for word in the training split",
            ),
        ),
        Fact("SHA-256 of the splits", (data.sha256,)),
    ]
    return tuple(facts)
