"""Race a training step of every row of a suite: our fast path, our plain path, and the usual loop
of transformers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from clsbench.bench.interleaving import Comparison, RaceRules, race
from clsbench.components.catalog import load_catalog
from clsbench.components.resolve import expand_methods, find_suite
from clsbench.data.tokens import TokenRows
from clsbench.errors import ClsbenchError
from clsbench.fastpath.cache.disk_cache import DiskCache
from clsbench.fastpath.cache.keys import PrefixKeys
from clsbench.fastpath.forward import Forward, PlainForward
from clsbench.schema.suite import SuiteRow, SuiteSpec
from our_side import OurSide
from workload import Promise, Setting, Workload, prepare

FAST, PLAIN, THEIRS = "fast", "plain", "transformers"
_CHECKED_STEPS = 4
_BATCHES = 4
_TOLERANCE = 1e-3  # in float32; AdamW magnifies rounding


class RacedRow(msgspec.Struct, kw_only=True):
    """One row. ``verdict`` is empty, or the reason why a side was not timed.

    ``difference`` is the largest between the losses of the sides in their first steps, ``plain``
    and ``theirs`` compare the fast path with the other sides.
    """

    label: str
    title: str
    trained: int = 0
    shortcuts: list[str] = []
    verdict: str = ""
    difference: float | None = None
    plain: Comparison | None = None
    theirs: Comparison | None = None
    control: Comparison | None = None


class PlainSide(OurSide):
    """Our plain path: the whole classifier on every batch, padded as the experiment says."""

    def _forward(
        self, rows: Mapping[str, TokenRows], disk: DiskCache | None, keys: PrefixKeys | None
    ) -> Forward:
        workload = self._workload
        return PlainForward(self.classifier, rows, workload.device, self._precision)


def race_rows(
    suite: SuiteSpec,
    rows: Sequence[SuiteRow],
    backbone: Mapping[str, Any],
    folder: Path,
    assets: Path | None,
    threads: int,
    rules: RaceRules,
) -> Iterator[RacedRow]:
    """Race the rows one after another; ``folder`` holds the model for transformers.

    A row that cannot be raced has the reason as its verdict.
    """
    for row in rows:
        changes: dict[str, Any] = {
            **suite.changes_of(row, {"backbone": dict(backbone)}), "baselines": [],
        }  # fmt: skip
        setting = Setting(row.label, row.title, changes, None, False, False, Promise(0, 0))
        raced = RacedRow(label=row.label, title=row.title)
        try:
            workload = _narrow(prepare(setting, "small", assets, threads, _BATCHES))
            _race(raced, workload, folder, rules)
        except ClsbenchError as error:
            raced.verdict = str(error)
        yield raced


def chosen_rows(file: Path, text: str | None) -> tuple[SuiteSpec, tuple[SuiteRow, ...]]:
    """The suite in a file, or of a plugin, and its rows that ``text`` selects.

    Raises:
        UsageError: the suite or a row does not exist.
    """
    catalog = load_catalog()
    suite = expand_methods(find_suite(file, catalog), catalog)
    return suite, suite.chosen(text) if text else suite.rows


def _narrow(workload: Workload) -> Workload:
    """The workload with the texts of its training batches alone."""
    texts = {index for batch in workload.batches for index in batch.indices}
    return workload._replace(rows={"train": workload.rows["train"].take(sorted(texts))})


def _race(raced: RacedRow, workload: Workload, folder: Path, rules: RaceRules) -> None:
    from hugging_face_side import HuggingFaceSide  # brings transformers

    raced.shortcuts = sorted(workload.plan.taken())
    with tempfile.TemporaryDirectory(prefix="clsbench-race-") as place:
        fast = OurSide(workload, Path(place))
        plain = PlainSide(workload, Path(place))
        theirs = HuggingFaceSide(workload, folder, fast.classifier)
        raced.trained = sum(parameter.numel() for parameter in fast.trained)
        sides: dict[str, Callable[[], float]] = {
            FAST: fast.step, PLAIN: plain.step, THEIRS: theirs.step,
        }  # fmt: skip
        losses = {name: [step() for _ in range(_CHECKED_STEPS)] for name, step in sides.items()}
        raced.difference = max(
            abs(one - other)
            for name in (PLAIN, THEIRS)
            for one, other in zip(losses[FAST], losses[name], strict=True)
        )
        if theirs.trainable != raced.trained or not raced.difference <= _TOLERANCE:
            raced.verdict = (
                f"not timed: the sides differ (trained parameters {raced.trained:,} and "
                f"{theirs.trainable:,}; losses {losses})"
            )
            return
        result = race(sides, rules)
        raced.plain = result.compare(FAST, PLAIN)
        raced.theirs = result.compare(FAST, THEIRS)
        raced.control = result.control(FAST)
        fast.close()


def markdown(rows: Sequence[RacedRow]) -> str:
    """The rows as a table; times are those of one training step."""
    lines = [
        "| row | trains | fast | plain | times faster | transformers | times faster "
        "| losses differ by | quiet rounds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [f"{row.label} {row.title}", f"{row.trained:,}"]
        if row.plain is None or row.theirs is None:
            lines.append(f"| {' | '.join(cells)} | {row.verdict} | | | | | | |")
            continue
        fast_seconds = row.plain.fast_seconds or row.theirs.fast_seconds
        cells += [_time(fast_seconds), *_compared(row.plain), *_compared(row.theirs)]
        cells += [f"{row.difference:.0e}", f"{row.theirs.pairs}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _compared(comparison: Comparison) -> tuple[str, str]:
    if comparison.ratio is None:
        return "–", "–"
    interval = f"[{_number(comparison.low)}–{_number(comparison.high)}]"
    return _time(comparison.slow_seconds), f"**{_number(comparison.ratio)}** {interval}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
