"""Print the report: tables with explanations."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from clsbench.bench.interleaving import Comparison
from clsbench.schema.quantities import duration_text, size_text
from race_outcome import Equality, Report, Result, WholeRun


def show(report: Report, console: Console) -> None:
    """Print all tables and notes."""
    machine = report.machine
    console.print(
        f"{machine['cpu']}, {machine['cores']} cores, {report.threads} threads; torch "
        f"{report.versions['torch']}; GPT-2 {report.size}, random weights, float32; {report.date}"
    )
    limits = report.limits
    console.print(
        f"This machine at its best: {limits.flops_per_second / 1e9:,.0f} GFLOP/s in float32 "
        f"products, {limits.bytes_per_second / 1e9:,.1f} GB/s copied (others used "
        f"{limits.foreign_cores:.2f} cores at the quietest measurement)\n"
    )
    if report.results:
        console.print(_steps(report.results))
        console.print(_wholes(report.results))
        _show_parts(report.results, console)
    if report.whole_run is not None:
        _show_whole_run(report.whole_run, console)
    for note in report.notes:
        console.print(f"· {note}", style="dim")


def _steps(results: list[Result]) -> Table:
    table = Table(title="One training step: clsbench against the book's code", title_justify="left")
    for heading in ("setting", "losses ±", "ours", "book", "times faster", "quiet rounds"):
        table.add_column(heading)
    for heading in ("ours/ours", "book/book", "bound", "ours/bound", "verdict"):
        table.add_column(heading)
    for result in results:
        step, bound = result.step, result.bound
        noise = [_ratio(control) for control in result.controls[:2]] or ["–", "–"]
        kind = ""
        if bound is not None:
            computing = bound.compute_seconds >= bound.memory_seconds
            kind = " computing" if computing else " memory"
        table.add_row(
            result.setting,
            _difference(result.equality),
            _time(step.fast_seconds if step else None),
            _time(step.slow_seconds if step else None),
            _ratio(step),
            f"{result.race.quiet_rounds} of {result.race.rounds}" if result.race else "–",
            *noise,
            _time(bound.seconds if bound else None) + kind,
            f"{result.ours_over_bound:.2f}" if result.ours_over_bound else "–",
            result.verdict,
        )
    return table


def _wholes(results: list[Result]) -> Table:
    table = Table(
        title="A whole run with its evaluations, put together from measured parts",
        title_justify="left",
    )
    for heading in ("setting", "book", "ours, cold", "times faster", "target"):
        table.add_column(heading)
    for heading in ("ours, kept", "times faster", "target", "peak memory, all sides"):
        table.add_column(heading)
    for result in results:
        cold = result.whole.cold if result.whole else None
        kept = result.whole.kept if result.whole else None
        peak = result.peak_memory_bytes
        table.add_row(
            result.setting,
            _time(cold.slow_seconds if cold else None),
            _time(cold.fast_seconds if cold else None),
            _ratio(cold),
            _promise(result.promised_cold),
            _time(kept.fast_seconds if kept else None),
            _ratio(kept),
            _promise(result.promised_kept),
            size_text(peak) if peak else "–",
        )
    return table


def _show_parts(results: list[Result], console: Console) -> None:
    for result in results:
        others = {
            "Hugging Face's step": result.hugging_face,
            "the book's GPTModelFast": result.fast_book,
        }
        for name, peer in others.items():
            if peer is not None:
                console.print(
                    f"{result.setting}, {name}: {_time(peer.slow_seconds)}, ours {_ratio(peer)} "
                    "times faster"
                )
        if result.whole is None or not result.whole.cold.measured:
            continue
        parts = [
            f"{part.side} {part.name}: {part.times:,.4g} × {_time(part.seconds)}"
            for part in dict.fromkeys(
                [*result.whole.cold_parts, *result.whole.kept_parts]  # those of both sides once
            )
        ]
        console.print(f"{result.setting}: " + "; ".join(parts), style="dim")


def _show_whole_run(run: WholeRun, console: Console) -> None:
    table = Table(title="Row 1 run whole, once", title_justify="left")
    for heading in ("", "time", "times faster", "others used"):
        table.add_column(heading)
    table.add_row("book", _time(run.book_seconds), "", f"{run.book_foreign_cores:.2f} cores")
    for name, seconds, load in (
        ("ours, nothing kept", run.cold_seconds, run.cold_foreign_cores),
        ("ours, prefix kept", run.kept_seconds, run.kept_foreign_cores),
    ):
        table.add_row(
            name, _time(seconds), f"{run.book_seconds / seconds:.1f}", f"{load:.2f} cores"
        )
    console.print(table)
    peak = run.cold_peak_memory_bytes
    console.print(
        f"losses differ by {run.difference_within_50_steps:.1e} at most within 50 steps, by "
        f"{run.difference:.1e} over all; peak memory of the first run "
        f"{size_text(peak) if peak else 'unknown'}"
    )


def _difference(equality: Equality) -> str:
    double = equality.double_difference
    return f"{equality.difference:.0e}" + ("" if double is None else f", fp64 {double:.0e}")


def _ratio(comparison: Comparison | None) -> str:
    if comparison is None:
        return "–"
    if comparison.ratio is None:
        return "not measured"
    return f"{comparison.ratio:.3g} [{comparison.low:.3g}–{comparison.high:.3g}]"


def _promise(times: float | None) -> str:
    return "–" if times is None else f"≥ {times:g}"


def _time(seconds: float | None) -> str:
    return "–" if seconds is None else duration_text(seconds)
