"""The output of a benchmark on the terminal and as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

from record_examples import STAND_INS, make_record, make_spec

from clsbench.bench.machine_peak import Limits
from clsbench.bench.measurement import Measurement
from clsbench.bench.memory import PeakMemory
from clsbench.bench.phases import NotApplicable
from clsbench.bench.run import BenchReport, Point
from clsbench.bench.sampling import Interval, Rules, Sample, Timing
from clsbench.report.terminal.bench import print_bench, to_csv
from clsbench.report.terminal.console import Console

LIMITS = Limits(
    flops_per_second=1e11,
    bytes_per_second=1e10,
    matrix_side=2048,
    copied_bytes=2**28,
    foreign_cores=0.0,
)


def measurement(phase: str, seconds: float | None, quiet: int = 6, dropped: int = 0) -> Measurement:
    samples = [
        Sample(calls=1, seconds=seconds or 1.0, foreign_cores=0.0, quiet=number < quiet)
        for number in range(quiet + dropped)
    ]
    interval = None if seconds is None else Interval(median=seconds, low=seconds, high=seconds)
    return Measurement(
        name=phase,
        phase=phase,
        device="cpu",
        examples=8,
        real_tokens=100,
        padded_tokens=400,
        timing=Timing(samples=tuple(samples), warm_up_calls=1, stable=True, seconds=interval),
        flops=1000,
        moved_bytes=0,
        memory=PeakMemory(allocated=1000, resident=None),
    )


def report(swept: str | None, points: dict[str, list[Measurement]], **more: Any) -> BenchReport:
    made = [
        Point(
            value=value,
            environment=make_record().environment,
            limits=LIMITS,
            spec=make_spec(),
            stand_ins=STAND_INS,
            parameters=None,
            max_length=120,
            measurements=tuple(measurements),
            left_out=more.get("left_out", ()),
        )
        for value, measurements in points.items()
    ]
    return BenchReport(
        status="finished",
        date="2026-01-01",
        experiment="gpt2-sms-spam",
        swept=swept,
        rules=Rules(),
        points=tuple(made),
    )


def shown(made: BenchReport, width: int = 120) -> str:
    file = io.StringIO()
    print_bench(Console(file=file, width=width), made)
    return file.getvalue()


def test_print_bench_sweep_is_one_table_grouped_by_phase() -> None:
    points = {
        value: [measurement("forward", 1e-3 * n), measurement("train step", 2e-3 * n)]
        for n, value in enumerate(("16", "32"), 1)
    }
    text = shown(report("data.padding", points))
    assert text.count("± 95 %") == 1
    assert text.count("STAND-IN: ") == len(STAND_INS)
    words = ("forward", "train step")
    lines = [line.split("  ")[:2] for line in map(str.strip, text.splitlines())
             if line.startswith(words)]  # fmt: skip
    assert lines == [[phase, value] for phase in words for value in points]


def test_bench_csv_and_table_count_the_same_samples() -> None:
    made = report(None, {"": [measurement("forward", 1e-3, quiet=7, dropped=5)]})
    [row] = csv.DictReader(io.StringIO(to_csv(made)))
    assert (row["samples"], row["dropped_samples"]) == ("7", "5")
    assert "5 dropped" in shown(made)


def test_print_bench_without_measurements_prints_the_reasons_and_no_table() -> None:
    left_out = (NotApplicable("prefix", "embeddings trains"),)
    made = report("train.lr", {"1": [], "2": []}, left_out=left_out)
    assert not made.measured_anything()
    text = shown(made)
    assert "± 95 %" not in text
    assert "train.lr = 2: prefix: does not apply: embeddings trains" in text
    assert not report(None, {"": [measurement("forward", None)]}).measured_anything()
