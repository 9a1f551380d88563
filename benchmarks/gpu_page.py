"""The page of ``gpu.py`` in Markdown: what was measured so far, part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bounded_parts import FINISHED, PartReport
from clsbench.schema.quantities import duration_text, size_text

REHEARSAL = (
    "**Nothing on this page ran on a GPU.** It is a rehearsal on the CPU with miniature sizes, to "
    "check that every part runs. Its times say nothing about a GPU or about real sizes."
)
_ONLY = "Only these parts were run: {}. Others are those of earlier commands."
_COMPUTE_PHASES = ("prefix", "training", "evaluation")


class Heading(NamedTuple):
    """What the page says about the whole command."""

    date: str
    versions: Mapping[str, str]
    device_name: str
    rehearse: bool
    minutes: float
    chosen: Sequence[str] = ()
    """The parts that were asked for by name."""

    def conditions(self) -> str:
        """Machine, versions and sizes: what must agree for results to be shown together."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{self.device_name}; {versions}" + ("; rehearsal" if self.rehearse else "")


def page(heading: Heading, reports: Sequence[PartReport], ended: str) -> str:
    """The page; ``ended`` says whether the command is running, finished or interrupted."""
    results = {report.name: report.result for report in reports if report.result is not None}
    lines = [
        "# clsbench on a GPU: rehearsal" if heading.rehearse else "# clsbench on a GPU",
        "",
        *([REHEARSAL, ""] if heading.rehearse else []),
        f"{heading.conditions()}; {heading.date}. {ended}, at most {heading.minutes:g} minutes.",
        "",
        *([_ONLY.format(", ".join(heading.chosen)), ""] if heading.chosen else []),
        "## Parts",
        "",
        *_table(
            ("part", "what it does", "status", "started", "took", "limit"),
            (
                (
                    report.name,
                    report.about,
                    report.status + (f": {report.reason}" if report.reason else ""),
                    report.date or "–",
                    _time(report.seconds) if report.seconds else "–",
                    _time(report.limit_seconds),
                )
                for report in reports
            ),
        ),
        "## Targets",
        "",
        *_shown("A result", _targets, results, heading.rehearse),
    ]
    for report in reports:
        lines += _section(report)
    return "\n".join(lines)


def _section(report: PartReport) -> Iterator[str]:
    if report.result is None and report.status == FINISHED:
        return
    if report.result is not None:
        yield from (f"## {report.name[0].upper()}{report.name[1:]}: {report.about}", "")
        yield from _shown(f"`{report.name}.json`", _SECTIONS[report.name], report.result)
    if report.status != FINISHED and report.output.strip():
        yield f"The last output of `{report.name}` ({report.status}):"
        yield ""
        yield from ("    " + line for line in report.output.rstrip().splitlines()[-20:])
        yield ""


def _shown(name: str, show: Callable[..., Iterator[str]], *results: object) -> list[str]:
    """The lines; an error does not end the measurements that are still to come."""
    try:
        return list(show(*results))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        return [f"{name} cannot be shown here: {error!r}", ""]


# --- the targets ----------------------------------------------------------------------------------


def _targets(results: Mapping[str, Any], rehearse: bool) -> Iterator[str]:
    """The targets on a GPU, beside what was measured."""
    yield from _table(("target", "measured", ""), _judged(results, rehearse))


def _judged(results: Mapping[str, Any], rehearse: bool) -> Iterator[tuple[str, str, str]]:
    whole = _first(results.get("whole", ()), name="row 1, nothing kept")
    rows = results.get("race", {}).get("rows", ())
    step = _ratio_of(_first(rows, setting="last-block", mode="fp32"), "book")
    all_layers = _ratio_of(_first(rows, setting="all", mode="bf16"), "fast_book")
    waits = results.get("trace", {}).get("waits")
    seconds = None if whole is None else _compute_seconds(whole)
    wait_count = None if waits is None else sum(waits.values())
    measured: list[tuple[str, float | None, Callable[[float], str], Callable[[float], bool]]] = [
        ("row 1 whole, nothing kept: at most 2 s of compute", seconds, _time, lambda v: v <= 2),
        ("cached step of row 1 in fp32: at least 20 × the book's", step, _times, lambda v: v >= 20),
        ("all layers in bf16: at least 1.5 × GPTModelFast", all_layers, _times, lambda v: v >= 1.5),
        (
            "the host never waits inside the training loop",
            wait_count,
            lambda v: f"{v:.0f} waits",
            lambda v: v == 0,
        ),
    ]
    for target, value, text, reached in measured:
        if value is None:
            yield target, "–", "not measured"
        elif rehearse:
            yield target, text(value), "a rehearsal; not comparable"
        else:
            yield target, text(value), "reached" if reached(value) else "**not reached**"


def _first(rows: Iterable[Mapping[str, Any]], **wanted: str) -> Mapping[str, Any] | None:
    return next((r for r in rows if all(r.get(k) == v for k, v in wanted.items())), None)


def _ratio_of(row: Mapping[str, Any] | None, peer: str) -> float | None:
    comparison = None if row is None else row.get(peer)
    return None if comparison is None else comparison["ratio"]


def _compute_seconds(row: Mapping[str, Any]) -> float | None:
    record = row.get("record")
    if record is None or record["status"] != "finished":
        return None
    return float(sum(record["phases_seconds"].get(name, 0.0) for name in _COMPUTE_PHASES))


# --- the parts ------------------------------------------------------------------------------------


def _doctor(result: Mapping[str, Any]) -> Iterator[str]:
    rows = [(device["name"], device["description"]) for device in result["devices"]]
    yield from _table(("device", ""), rows)
    yield ", ".join(f"{name} {version}" for name, version in result["versions"].items()) + "."
    yield ""


def _tests(result: Mapping[str, Any]) -> Iterator[str]:
    outcomes = sorted({outcome for counts in result["by_file"].values() for outcome in counts})
    yield from _table(
        ("file", *outcomes),
        (
            (file, *(counts.get(outcome, 0) for outcome in outcomes))
            for file, counts in result["by_file"].items()
        ),
    )
    for test in result["failed"]:
        yield f"- failed: `{test}`"
    if result["failed"]:
        yield ""


def _race(result: Mapping[str, Any]) -> Iterator[str]:
    yield from _table(
        ("mode", "matrix products, TFLOP/s", "copied, GB/s"),
        (
            (
                mode,
                f"{peak['flops_per_second'] / 1e12:.3g}",
                f"{peak['bytes_per_second'] / 1e9:.3g}",
            )
            for mode, peak in result["limits"].items()
        ),
    )
    yield from _table(
        ("setting", "mode", "losses ±", "ours, per step", "book", "× faster than the book",
         "GPTModelFast", "× faster than GPTModelFast", "bound", "ours/bound", "ours/ours",
         "remark"),
        map(_raced_row, result["rows"]),
    )  # fmt: skip
    yield from _RACE_NOTES
    yield ""


_RACE_NOTES = (
    "- Modes: fp32 without TF32, fp32 with TF32 in matrix products, and bf16 autocast.",
    "- Losses: the largest difference between both sides in the first steps, and what is allowed.",
    "  In tf32 and bf16 that is three times the difference between the book's own losses and its",
    "  losses in fp32, at least 0.01. If the losses differ by more, nothing is timed; in fp32 only",
    "  if they also differ in float64. The losses of GPTModelFast may differ from the book's by as",
    "  much, in fp32 by 0.001.",
    "- A timed call is several steps on both sides, with one wait for the device at its end.",
    "- × faster: the median of the rounds' ratios, with a 95 % interval. ours/ours compares",
    "  consecutive rounds of one side: deviations from 1 are noise. Samples are kept even if other",
    "  processes used the CPU.",
    "- Bound: the longer of a step's arithmetic at the measured peak of matrix products and its",
    "  memory traffic at the measured bandwidth.",
)


def _raced_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    book, fast, bound = row["book"] or {}, row["fast_book"] or {}, row["bound"]
    control = row["controls"][0] if row["controls"] else None
    kind = ""
    if bound is not None:
        computing = bound["compute_seconds"] >= bound["memory_seconds"]
        kind = f"{_time(bound['seconds'])} {'computing' if computing else 'memory'}"
    return (
        row["setting"],
        row["mode"],
        f"{_power(row['difference'])} (≤ {_power(row['allowed'])})",
        _time(row["ours_seconds"]),
        _time(book.get("slow_seconds")),
        _interval(book),
        _time(fast.get("slow_seconds")),
        _interval(fast),
        kind or "–",
        "–" if row["ours_over_bound"] is None else f"{row['ours_over_bound']:.2f}",
        _interval(control or {}),
        row["verdict"] or _equal_in_double(row["double_difference"]),
    )


def _equal_in_double(difference: float | None) -> str:
    return "" if difference is None else f"equal in float64, within {difference:.0e} of their size"


def _whole(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    cells = []
    for row in rows:
        record, seconds = row.get("record") or {}, _compute_seconds(row)
        phases = record.get("phases_seconds", {})
        peak = record.get("peak_memory_bytes")
        metrics = record.get("metrics")
        cells.append(
            (
                row["name"],
                record.get("status", f"exit code {row['exit_code']}"),
                _time(seconds),
                *(_time(phases.get(name)) for name in _COMPUTE_PHASES),
                _time(row["process_seconds"]),
                size_text(peak) if peak else "–",
                f"{metrics['test']['accuracy']:.2%}" if metrics else "–",
            )
        )
    headings = ("run", "status", "compute", *_COMPUTE_PHASES)
    yield from _table((*headings, "whole process", "peak memory", "test accuracy"), cells)
    yield "Compute is prefix, training and evaluation, without start, data and building the model."
    yield ""


def _compile(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from _table(
        ("setting", "mode", "how", "losses ±", "first 8 steps", "per step", "eager", "times faster",
         "eager/eager", "remark"),
        (
            (
                row["setting"],
                row["mode"],
                row["how"],
                _power(row["difference"]),
                _time(row["first_steps_seconds"]),
                _time((row["against_eager"] or {}).get("fast_seconds")),
                _time((row["against_eager"] or {}).get("slow_seconds")),
                _interval(row["against_eager"] or {}),
                _interval(row["control"] or {}),
                row["verdict"],
            )
            for row in rows
        ),
    )  # fmt: skip


def _trace(result: Mapping[str, Any]) -> Iterator[str]:
    waits = ", ".join(f"{name}: {count}" for name, count in result["waits"].items()) or "none"
    yield (
        f"{result['steps']} steps of {result['setting']} in {_time(result['seconds'])}, traced. "
        f"Waits for the device: {waits}. Open `{result['trace']}` in Perfetto."
    )
    yield ""


def _memory(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from _table(
        ("setting", "mode", "side", "weights and optimizer", "peak of a step, beyond what is held"),
        (
            (row["setting"], row["mode"], row["side"],
             *((row["failed"], "–") if "failed" in row else
               (size_text(row["held_bytes"]), size_text(row["step_bytes"]))))
            for row in rows
        ),
    )  # fmt: skip


def _freezing(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from _table(
        ("strategy", "precision", "phase", "per call", "texts/s", "real tokens/s"),
        (
            (row["freezing"], row["precision"], row["phase"],
             row.get("failed") or _time(row["seconds"]),
             _rate(row.get("examples_per_second")), _rate(row.get("real_tokens_per_second")))
            for row in rows
        ),
    )  # fmt: skip


_SECTIONS: dict[str, Callable[[Any], Iterator[str]]] = {
    "doctor": _doctor,
    "tests": _tests,
    "race": _race,
    "whole": _whole,
    "compile": _compile,
    "trace": _trace,
    "memory": _memory,
    "freezing": _freezing,
}


# --- cells ----------------------------------------------------------------------------------------


def _table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield "|" + "---|" * len(headings)
    for row in rows:
        yield f"| {' | '.join(str(cell).replace('|', '/') for cell in row)} |"
    yield ""


def _time(seconds: float | None) -> str:
    return "–" if seconds is None else duration_text(seconds)


def _power(number: float | None) -> str:
    return "–" if number is None else f"{number:.0e}"  # JSON has no NaN


def _times(ratio: float) -> str:
    return f"{ratio:.3g} ×"


def _rate(per_second: float | None) -> str:
    if per_second is None:
        return "–"
    return f"{per_second:.3g}" if per_second < 1000 else f"{per_second:,.0f}"


def _interval(comparison: Mapping[str, Any]) -> str:
    if comparison.get("ratio") is None:
        return "–"
    return f"{comparison['ratio']:.3g} [{comparison['low']:.3g}–{comparison['high']:.3g}]"
