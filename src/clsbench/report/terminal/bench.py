"""Terminal output of a benchmark: its conditions, and a table with one row per phase."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.text import Text

from clsbench.report.terminal.console import Console
from clsbench.report.terminal.layout import Row, fitting_table
from clsbench.report.wording import listed, plain, rate, threads_text
from clsbench.results.csvtext import csv_line
from clsbench.schema.quantities import duration_text, size_text

if TYPE_CHECKING:
    from clsbench.bench.compare import Amounts, ComparisonReport, PhaseComparison
    from clsbench.bench.machine_peak import Limits
    from clsbench.bench.measurement import Measurement
    from clsbench.bench.run import BenchReport, Point
    from clsbench.bench.sampling import Rules

_HEADERS = (
    "time per call",
    "± 95 %",
    "texts/s",
    "real tokens/s",
    "padded tokens/s",
    "GFLOP/s",
    "of peak",
    "memory added",
    "samples",
)
_OPTIONAL = ("GFLOP/s", "padded tokens/s", "texts/s", "memory added", "samples", "of peak")
"""The columns left out on a narrow terminal, in this order."""
NOT_MEASURED = "not measured"


def print_bench(console: Console, report: BenchReport) -> None:
    """Print the conditions and one table, with a row per phase and per value of a sweep."""
    for line in _conditions(report):
        console.prose(line, "dim")
    lines = (
        f"STAND-IN: {stand_in.by} in place of {stand_in.replaced}"
        for point in report.points
        for stand_in in point.stand_ins
    )
    for line in dict.fromkeys(lines):
        console.prose(line, "yellow")
    if _one_peak(report) is None:
        for point in report.points:
            for line in _peak(point.limits, report.rules):
                console.prose(_of_point(report, point, line), "dim")
    by_phase: dict[str, list[Row]] = {}
    for point in report.points:
        for measured in point.measurements:
            label = measured.phase if report.swept is None else f"{measured.phase}  {point.value}"
            by_phase.setdefault(measured.phase, []).append(_row(measured, point.limits, label))
    if by_phase:
        name = "phase" if report.swept is None else f"phase, {report.swept}"
        groups = list(by_phase.values())
        console.print(fitting_table(name, _HEADERS, groups, console.width, _OPTIONAL, "--json"))
    for point in report.points:
        for measured in point.measurements:
            for line in filter(None, (_unsettled(measured), _throttled(measured))):
                console.prose(_of_point(report, point, line), "yellow")
        for left_out in point.left_out:
            line = f"{left_out.phase}: does not apply: {left_out.reason}"
            console.prose(_of_point(report, point, line), "dim")
        for failed in point.failed:
            line = f"{failed.phase}: failed: {failed.reason}"
            console.prose(_of_point(report, point, line), "red")


def _of_point(report: BenchReport, point: Point, line: str) -> str:
    """The line, preceded by the value of the sweep that it concerns."""
    return line if report.swept is None else f"{report.swept} = {point.value}: {line}"


_NOTICED = 2
"""Intervals wider than so many times the smallest difference that is claimed get a warning."""
_COMPARED = ("A", "B", "B / A", "95 %", "A / A (control)", "rounds", "verdict on B")
_OPTIONAL_COMPARED = ("A / A (control)", "rounds", "95 %")


def print_comparison(console: Console, report: ComparisonReport) -> None:
    """Print for each phase which of the two is faster, with its interval and a control."""
    environment = report.environment
    lines = (
        f"A: {report.a}",
        f"B: {report.b}",
        f"on {environment.device} ({environment.device_name}), {environment.precision}, "
        f"{threads_text(environment.threads)}, torch {environment.torch}; {report.date}; "
        "interleaved; rounds in which other processes used more than "
        f"{report.rules.load_limit_cores:g} cores are dropped; differences below "
        f"{report.nothing_below:.0%} are not claimed",
    )
    for line in lines:
        console.prose(line, "dim")
    for stand_in in report.stand_ins:
        line = f"STAND-IN: {stand_in.by} in place of {stand_in.replaced}"
        console.prose(line, "yellow")
    rows = [_compared_row(phase) for phase in report.phases]
    width = console.width
    console.print(fitting_table("phase", _COMPARED, [rows], width, _OPTIONAL_COMPARED, "--json"))
    for phase in report.phases:
        if phase.a_call != phase.b_call:
            line = (
                f"{phase.phase}: times are per call; a call of A has {_call_text(phase.a_call)}, "
                f"a call of B has {_call_text(phase.b_call)}"
            )
            console.prose(line)
    for phase in report.phases:
        low, high = phase.b_over_a.low, phase.b_over_a.high
        if phase.verdict != "no difference shown" or low is None or high is None:
            continue
        if max(1 / low, high) - 1 > _NOTICED * report.nothing_below:
            line = (
                f"{phase.phase}: the difference may lie anywhere from {low - 1:+.0%} to "
                f"{high - 1:+.0%}; a larger --budget or a quieter machine gives a narrower interval"
            )
            console.prose(line, "yellow")
    for left_out in report.left_out:
        line = f"{left_out.phase}: not compared: {left_out.reason}"
        console.prose(line, "dim")
    for failed in report.failed:
        console.prose(f"{failed.phase}: failed: {failed.reason}", "red")


def _call_text(call: Amounts) -> str:
    return (
        f"{call.examples:,} texts ({call.real_tokens:,} tokens, {call.padded_tokens:,} positions)"
    )


def _compared_row(phase: PhaseComparison) -> Row:
    found, control = phase.b_over_a, phase.control
    rounds = f"{found.pairs}"
    if phase.race.dropped:
        rounds += f", {phase.race.dropped}\nsamples dropped"
    if found.ratio is None or found.fast_seconds is None or found.slow_seconds is None:
        return Row(Text(phase.phase), (*("–",) * 5, rounds, phase.verdict))
    cells = (
        duration_text(found.fast_seconds),
        duration_text(found.slow_seconds),
        f"{found.ratio:.3f} ×",
        f"{found.low:.3f}–{found.high:.3f}",
        "–" if control.ratio is None else f"{control.ratio:.3f} ×",
        rounds,
        phase.verdict,
    )
    return Row(Text(phase.phase), cells)


def to_csv(report: BenchReport) -> str:
    """One line per phase and point, with times in seconds and memory in bytes."""
    swept = report.swept if report.swept not in _CSV_COLUMNS else None
    lines: list[list[object]] = [[swept or "setting", *_CSV_COLUMNS]]
    for point in report.points:
        environment = point.environment
        run = (
            report.experiment,
            " ".join(f"{each.by} for {each.replaced}" for each in point.stand_ins),
            environment.device_name,
            environment.precision,
            environment.threads,
            point.limits.flops_per_second,
            point.limits.bytes_per_second,
        )
        lines += [[point.value, *_csv_cells(each), *run] for each in point.measurements]
    return "".join(csv_line("" if cell is None else str(cell) for cell in line) for line in lines)


_CSV_COLUMNS = (
    "phase", "device", "median_seconds", "low_seconds", "high_seconds", "examples", "real_tokens",
    "padded_tokens", "flops", "moved_bytes", "allocated_bytes", "resident_bytes", "samples",
    "dropped_samples", "stable", "experiment", "stand_ins", "device_name", "precision", "threads",
    "peak_flops_per_second", "peak_bytes_per_second",
)  # fmt: skip


def _csv_cells(measured: Measurement) -> list[object]:
    timing, seconds = measured.timing, measured.timing.seconds
    times = (None,) * 3 if seconds is None else (seconds.median, seconds.low, seconds.high)
    return [
        measured.phase,
        measured.device,
        *times,
        measured.examples,
        measured.real_tokens,
        measured.padded_tokens,
        measured.flops,
        measured.moved_bytes,
        measured.memory.allocated,
        measured.memory.resident,
        timing.counted,
        timing.dropped,
        timing.stable,
    ]


def _conditions(report: BenchReport) -> Iterator[str]:
    torch = report.points[0].environment.torch
    yield f"{report.experiment} on {circumstances_text(report)}, torch {torch}; {report.date}"
    if (limits := _one_peak(report)) is not None:
        yield from _peak(limits, report.rules)
    sizes = dict.fromkeys(str(point.spec["train"]["batch_size"]) for point in report.points)
    widths = dict.fromkeys(f"{point.max_length:,}" for point in report.points)
    yield (
        f"one batch of {listed([*sizes])} texts of {listed([*widths])} positions, "
        "from the shortest to the longest training text (prefix: four times as many, distinct); "
        "samples in which other processes used more than "
        f"{report.rules.load_limit_cores:g} cores are dropped"
    )


def circumstances_text(report: BenchReport) -> str:
    """Devices, precisions and threads: ``cpu (AMD EPYC), fp32, 2 threads``."""
    environments = [point.environment for point in report.points]
    parts = (
        [f"{each.device} ({each.device_name})" for each in environments],
        [each.precision for each in environments],
    )
    devices, precisions = (listed([*dict.fromkeys(part)]) for part in parts)
    return f"{devices}, {precisions}, {threads_text(*(each.threads for each in environments))}"


def _one_peak(report: BenchReport) -> Limits | None:
    """The limits of all points if they are equal."""
    limits = {point.limits for point in report.points}
    return limits.pop() if len(limits) == 1 else None


def _peak(limits: Limits, rules: Rules) -> Iterator[str]:
    yield (
        f"measured peak: {limits.flops_per_second / 1e9:,.0f} GFLOP/s in "
        f"products of {limits.matrix_side:,} × {limits.matrix_side:,} matrices, "
        f"{limits.bytes_per_second / 1e9:,.1f} GB/s in copies"
    )
    if limits.foreign_cores > rules.load_limit_cores:
        yield (
            f"other processes used {limits.foreign_cores:.1f} cores meanwhile: the true peak may "
            "be higher, and the shares of it lower"
        )


def _row(measured: Measurement, limits: Limits, label: str) -> Row:
    timing = measured.timing
    count = f"{timing.counted}"
    samples = f"{count}\n{timing.dropped} dropped" if timing.dropped else count
    if timing.seconds is None:
        cells = (NOT_MEASURED, *("–",) * 6, size_text(measured.memory.allocated), samples)
        return Row(plain(label), cells)
    flops = measured.per_second(measured.flops) or 0.0
    cells = (
        duration_text(timing.seconds.median),
        f"{100 * timing.seconds.half_width_fraction:.1f} %",
        rate(measured.per_second(measured.examples) or 0.0),
        rate(measured.per_second(measured.real_tokens) or 0.0),
        rate(measured.per_second(measured.padded_tokens) or 0.0),
        f"{flops / 1e9:,.1f}" if flops else "–",
        _of_peak(measured, limits),
        size_text(measured.memory.allocated),
        samples,
    )
    return Row(plain(label), cells)


def _of_peak(measured: Measurement, limits: Limits) -> str:
    """The share of the peak FLOP/s; for a phase without matrix products, of the copy bandwidth.

    A share of the bandwidth above 1 means that the tensors were read from the CPU's caches.
    """
    if measured.flops:
        return f"{(measured.per_second(measured.flops) or 0) / limits.flops_per_second:.1%}"
    if measured.moved_bytes:
        moved = measured.per_second(measured.moved_bytes) or 0
        share = moved / limits.bytes_per_second
        return f"{share:.0%}\nof copy" if share <= 1 else "in caches"
    return "–"


def _unsettled(measured: Measurement) -> str:
    if measured.timing.stable:
        return ""
    return f"{measured.phase}: the times were still changing at the end; use a larger --budget"


def _throttled(measured: Measurement) -> str:
    """For a GPU, why and in how many samples its clock was reduced."""
    samples = measured.timing.samples
    reasons = sorted({reason for sample in samples for reason in sample.held_back_by})
    if not reasons:
        return ""
    count = sum(bool(sample.held_back_by) for sample in samples)
    return (
        f"{measured.phase}: the GPU was throttled in {count} of {len(samples)} samples "
        f"({', '.join(reasons)})"
    )
