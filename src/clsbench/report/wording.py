"""Numbers and names as text, the same in every table, on the page and in plots."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rich.text import Text

from clsbench.system.printable import printable

if TYPE_CHECKING:
    from clsbench.analysis.figures import MetricInfo
    from clsbench.analysis.paired import Difference
    from clsbench.components.values import TextPair
    from clsbench.schema.record import ModelSelection


SHOWN = "†"
"""Marks a significant difference."""

FOUND = "°"
"""Marks a time that excludes cached work."""

REUSED = f"{FOUND} reused cached activations from an earlier run; from scratch it takes longer."
"""The note that explains :data:`FOUND`."""


def plain(text: str, style: str = "") -> Text:
    """``text`` without markup and with control characters escaped."""
    return Text(printable(text), style=style)


def shortened(text: str, length: int) -> str:
    """``text``, cut at the end to at most ``length`` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"


def shortened_text(text: str | TextPair, length: int) -> str:
    """A text, cut to ``length`` characters, or a pair, each of its texts cut to half of that."""
    if isinstance(text, str):
        return shortened(text, length)
    return " | ".join(shortened(each, length // 2) for each in text)


_MARKS = (r"\s,:;", r"/=_-")
"""Characters after which a line may break; the second group is used if the first is not enough."""


def folded(text: str, width: int) -> str:
    """Wrap ``text`` to lines of at most ``width`` characters, preferably after punctuation."""
    return "\n".join(line.rstrip() for line in _folded(text, width, _MARKS))


def _folded(text: str, width: int, marks: tuple[str, ...]) -> list[str]:
    if not marks:
        return [text[at : at + width] for at in range(0, len(text), width)]
    lines = [""]
    for piece in _pieces(text, marks[0]):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
        if len(lines[-1].rstrip()) > width:
            lines[-1:] = _folded(lines[-1], width, marks[1:])
    return lines


def longest_piece(text: str) -> int:
    """The length of the longest part of ``text`` that should stay on one line."""
    return max((len(piece.rstrip()) for piece in _pieces(text, _MARKS[0])), default=0)


def _pieces(text: str, marks: str) -> list[str]:
    return re.findall(rf"[^{marks}]*[{marks}]|[^{marks}]+", text)


def percent(fraction: float) -> str:
    """``95.67 %``."""
    return f"{100 * fraction:.2f} %"


def percent_interval(interval: tuple[float, float]) -> str:
    """``92.7–97.5``, in percent."""
    low, high = interval
    return f"{100 * low:.1f}–{100 * high:.1f}"


def metric_text(metric: MetricInfo, value: float | None) -> str:
    """A metric with its unit, a dash if it is missing: ``95.67 %``, ``0.3242``."""
    if value is None:
        return "-"
    return percent(value) if metric.unit == "%" else f"{value:.{metric.decimals}f}"


def spread_text(metric: MetricInfo, mean: float, sd: float | None) -> str:
    """Mean and standard deviation over seeds: ``93.00 % ± 0.51``; for one seed only the value."""
    text = metric_text(metric, mean)
    if sd is None:
        return text
    if metric.unit == "%":
        return f"{text} ± {100 * sd:.2f}"
    return f"{text} ± {sd:.{metric.decimals}f}"


def metric_range(metric: MetricInfo, low: float, high: float) -> str:
    """Two values of a metric with one decimal fewer: ``92.7–97.5``, ``0.321–0.334``."""
    if metric.unit == "%":
        return percent_interval((low, high))
    digits = max(metric.decimals - 1, 0)
    return "–".join(f"{value:.{digits}f}" for value in (low, high))


def metric_difference(metric: MetricInfo, difference: float) -> str:
    """A difference of two values: ``+0.35 pp``, ``-0.0120``."""
    if metric.unit == "%":
        return points(difference)
    return f"{round(difference, metric.decimals) + 0.0:+.{metric.decimals}f}"


def difference_text(found: Difference, metric: MetricInfo) -> str:
    """The size of a difference, whichever side is better: ``4.67 pp (95 %: 2.3 to 7.8)``."""
    positive = found if found.difference > 0 else found.reversed()
    size = metric_difference(metric, positive.difference)[1:]
    low, high = interval_ends(positive, metric)
    return f"{size} (95 %: {low} to {high})"


def interval_ends(found: Difference, metric: MetricInfo, sign: str = "") -> tuple[str, str]:
    """The ends of the interval of a difference, with one decimal fewer than the difference."""
    scale, digits = (100, 1) if metric.unit == "%" else (1, max(metric.decimals - 1, 0))
    low, high = (f"{scale * end:{sign}.{digits}f}" for end in found.interval)
    return low, high


def metric_tick(metric: MetricInfo, value: float) -> str:
    """A round value on an axis: ``95 %``, ``0.8``."""
    return f"{100 * value:g} %" if metric.unit == "%" else f"{value:g}"


def superlative(metric: MetricInfo) -> str:
    """``highest accuracy``, ``lowest loss``."""
    return f"{'highest' if metric.better == 'higher' else 'lowest'} {metric.header}"


def points(difference: float) -> str:
    """A difference of two fractions in percentage points: ``+0.35 pp``."""
    return f"{round(100 * difference, 2) + 0.0:+.2f} pp"


def threads_text(*numbers: int) -> str:
    """``1 thread``, ``2 threads``, ``1 and 2 threads``."""
    found = list(dict.fromkeys(numbers))
    return f"{listed([str(each) for each in found])} thread{'' if found == [1] else 's'}"


def rate(per_second: float) -> str:
    """A rate with three significant digits, or as a whole number: ``0.42``, ``31.2``, ``3,744``."""
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.3g}"


def shortest_label(label: str, labels: Iterable[str]) -> str:
    """The component's name; with its options if another of the ``labels`` has the same name."""
    name = label.partition(":")[0]
    return name if [other.partition(":")[0] for other in labels].count(name) == 1 else label


def listed(parts: list[str], last: str = "and") -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return f" {last} ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def dropped_text(dropped: Mapping[str, int], most: int = 6) -> str:
    """How many texts balancing dropped, by class, and how to keep them."""
    parts = [f"{name} {count:,}" for name, count in list(dropped.items())[:most]]
    if len(dropped) > most:
        parts.append(f"and {len(dropped) - most} more classes")
    return (
        f"{sum(dropped.values()):,} texts ({', '.join(parts)}): data.balance=true cuts every class "
        "to the size of the smallest; data.balance=false keeps all"
    )


def selection_text(selection: ModelSelection) -> str:
    """``epoch 2 of 4 is used, the best on validation (accuracy 0.9732); stopped early``."""
    trained = len(selection.scores)
    best = f"{selection.metric} {selection.scores[selection.best_epoch - 1]:.4f}"
    if selection.used_epoch is None:
        text = f"best of {trained} on validation: epoch {selection.best_epoch} ({best})"
    elif selection.used_epoch == selection.best_epoch:
        text = f"epoch {selection.used_epoch} of {trained} is used, the best on validation ({best})"
    else:
        text = (
            f"epoch {selection.used_epoch} of {trained} is used; the best on validation was epoch "
            f"{selection.best_epoch} ({best})"
        )
    return text + ("; stopped early by train.patience" if selection.stopped_early else "")
