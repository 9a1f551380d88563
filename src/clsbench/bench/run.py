"""Measure the phases of an experiment, or of several that differ in one setting."""

from __future__ import annotations

import contextlib
import functools
import gc
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import torch

from clsbench.bench.interleaving import NOTHING_BELOW, Comparison, Race, RaceRules, race
from clsbench.bench.machine_peak import Limits, LimitsMeter
from clsbench.bench.measurement import Measurement, measure
from clsbench.bench.phases import (
    NotApplicable,
    PhaseWorkload,
    phase_workloads,
)
from clsbench.bench.sampling import Rules
from clsbench.bench.stopwatch import stopwatch
from clsbench.bench.subject import (
    PlannedSubject,
    Subject,
    build_subject,
    plan_subject,
    prepare_subject,
)
from clsbench.components.catalog import Catalog
from clsbench.components.resolve import Experiment
from clsbench.errors import AssetError, ClsbenchError, UsageError
from clsbench.schema.options import RunOptions
from clsbench.schema.record import Environment, ParameterCounts, StandIn
from clsbench.system.device_errors import is_out_of_memory
from clsbench.system.environment import choose_device, circumstances, describe_environment


class Variant(NamedTuple):
    """An experiment to measure, with its run options and the value of the swept setting."""

    value: str
    experiment: Experiment
    options: RunOptions


class Failed(msgspec.Struct, frozen=True):
    """A phase that failed, and the reason."""

    phase: str
    reason: str


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """The measured phases of one experiment.

    Includes its spec, the machine and the raw samples. ``value`` is that of the swept setting,
    empty without a sweep. ``limits`` is the machine's peak over the whole run under the same
    circumstances. ``left_out`` lists phases that the experiment does not have, ``failed`` those
    that failed.
    """

    value: str
    environment: Environment
    limits: Limits
    spec: dict[str, Any]
    stand_ins: tuple[StandIn, ...]
    parameters: ParameterCounts | None
    max_length: int
    measurements: tuple[Measurement, ...]
    left_out: tuple[NotApplicable, ...]
    failed: tuple[Failed, ...] = ()


class BenchReport(msgspec.Struct, frozen=True, kw_only=True):
    """All measurements and their rules.

    ``swept`` is the setting in which the points differ: a key of the spec, ``device``,
    ``precision`` or ``threads``; ``None`` for one point. ``status`` is ``finished``, or
    ``interrupted`` if points are missing.
    """

    status: str
    date: str
    experiment: str
    swept: str | None
    rules: Rules
    points: tuple[Point, ...]

    def measured_anything(self) -> bool:
        """Whether at least one phase has a time."""
        return any(m.seconds is not None for p in self.points for m in p.measurements)


OnPhase = Callable[[str, str], None]
"""Receives the value of the variant and the phase before each measurement."""


def bench(
    variants: Sequence[Variant],
    swept: str | None,
    phases: Sequence[str],
    rules: Rules,
    catalog: Catalog,
    on_phase: OnPhase,
) -> BenchReport:
    """Measure the phases of every variant.

    Completed measurements are kept after an interruption. A phase that runs out of memory, or has a
    loss that is not finite, does not stop the others.

    Raises:
        UsageError: the request is invalid.
        AssetError: data or weights are unavailable.
    """
    # Prepare all variants first, so that errors are found before the long measurements.
    devices = [choose_device(each.options.device, each.options.precision) for each in variants]
    planned = []
    for variant, device in zip(variants, devices, strict=True):
        with circumstances(variant.options):
            planned.append(plan_subject(variant.experiment, variant.options, device, catalog))
    meters: dict[RunOptions, LimitsMeter] = {}
    points: list[tuple[RunOptions, Callable[[Limits], Point]]] = []
    status = "finished"
    try:
        for variant, device, plan in zip(variants, devices, planned, strict=True):
            with circumstances(variant.options):
                if (meter := meters.get(variant.options)) is None:
                    seconds = min(1.5, rules.budget_seconds / 4)
                    meter = LimitsMeter(device, variant.options.precision, seconds=seconds)
                    meter.measure()
                    meters[variant.options] = meter
                found: list[Measurement | NotApplicable | Failed] = []
                try:
                    _measure_phases(variant, plan, phases, rules, device, on_phase, found)
                finally:
                    if found:
                        environment = describe_environment(device, variant.options)
                        made = functools.partial(_point, variant.value, plan, found, environment)
                        points.append((variant.options, made))
                gc.collect()  # the classifier and its activations form reference cycles
                if device.type == "cuda":
                    torch.cuda.empty_cache()
                meter.measure()
    except KeyboardInterrupt:
        if not points:
            raise
        status = "interrupted"
    return BenchReport(
        status=status,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        experiment=variants[0].experiment.spec.name,
        swept=swept,
        rules=rules,
        points=tuple(made(meters[options].best()) for options, made in points),
    )


def _measure_phases(
    variant: Variant,
    plan: PlannedSubject,
    phases: Sequence[str],
    rules: Rules,
    device: torch.device,
    on_phase: OnPhase,
    found: list[Measurement | NotApplicable | Failed],
) -> None:
    """Measure the phases of one variant and add them to ``found``; then free the classifier."""
    subject: Subject | None = None
    for phase in phases:
        on_phase(variant.value, phase)
        with _failing(phase, found):
            subject = subject or build_subject(plan, variant.options, device)
            (workload,) = phase_workloads(subject, [phase])
            if isinstance(workload, NotApplicable):
                found.append(workload)
            else:
                found.append(measure(workload, rules))


@contextlib.contextmanager
def _failing(phase: str, found: list[Any]) -> Iterator[None]:
    """Add a phase to ``found`` as failed if the error is expected for some settings."""
    try:
        yield
    except (UsageError, AssetError):
        raise
    except ClsbenchError as error:
        found.append(Failed(phase, str(error)))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        found.append(Failed(phase, "out of memory"))


def _point(
    value: str,
    plan: PlannedSubject,
    found: Sequence[Measurement | NotApplicable | Failed],
    environment: Environment,
    limits: Limits,
) -> Point:
    record = plan.planned.record
    assert record.data is not None
    return Point(
        value=value,
        environment=environment,
        limits=limits,
        spec=record.spec,
        stand_ins=record.stand_ins,
        parameters=record.parameters,
        max_length=record.data.max_length,
        measurements=tuple(each for each in found if isinstance(each, Measurement)),
        left_out=tuple(each for each in found if isinstance(each, NotApplicable)),
        failed=tuple(each for each in found if isinstance(each, Failed)),
    )


# --- two against each other -----------------------------------------------------------------------

_ROUNDS = 30
_AGAIN = "A again"


class Amounts(msgspec.Struct, frozen=True, kw_only=True):
    """A description of one call."""

    examples: int
    real_tokens: int
    padded_tokens: int


class PhaseComparison(msgspec.Struct, frozen=True, kw_only=True):
    """A phase of two experiments, timed alternately.

    ``control`` is A against itself; ``a_call`` describes a call of A. ``verdict`` on B is
    ``faster``, ``slower``, ``no difference shown``, or ``not measured`` (too few undisturbed
    rounds, or a control that differs).
    """

    phase: str
    verdict: str
    b_over_a: Comparison
    control: Comparison
    a_call: Amounts
    b_call: Amounts
    race: Race


class ComparisonReport(msgspec.Struct, frozen=True, kw_only=True):
    """The comparison of two experiments by phase, with all samples.

    ``left_out`` lists phases that one of the two does not have, ``failed`` those that failed.
    Differences below ``nothing_below`` (a fraction) are not reported.
    """

    status: str
    date: str
    a: str
    b: str
    specs: tuple[dict[str, Any], dict[str, Any]]
    stand_ins: tuple[StandIn, ...]
    rules: Rules
    environment: Environment
    phases: tuple[PhaseComparison, ...]
    left_out: tuple[NotApplicable, ...]
    failed: tuple[Failed, ...] = ()
    nothing_below: float = NOTHING_BELOW


def compare(
    first: Variant,
    second: Variant,
    phases: Sequence[str],
    rules: Rules,
    catalog: Catalog,
    on_phase: OnPhase,
) -> ComparisonReport:
    """Time the phases of two experiments alternately, with the run options of the first.

    Completed measurements are kept after an interruption.

    Raises:
        UsageError: the request is invalid.
        AssetError: data or weights are unavailable.
    """
    options = first.options
    device = choose_device(options.device, options.precision)
    compared: list[PhaseComparison] = []
    left_out: list[NotApplicable] = []
    failed: list[Failed] = []
    status = "finished"
    with circumstances(options):
        environment = describe_environment(device, options)
        a, b = (
            prepare_subject(variant.experiment, options, device, catalog)
            for variant in (first, second)
        )
        try:
            for phase in phases:
                on_phase("", phase)
                (one,), (other,) = (tuple(phase_workloads(each, [phase])) for each in (a, b))
                if isinstance(one, NotApplicable):
                    left_out.append(NotApplicable(phase, f"{first.value}: {one.reason}"))
                elif isinstance(other, NotApplicable):
                    left_out.append(NotApplicable(phase, f"{second.value}: {other.reason}"))
                else:
                    with _failing(phase, failed):
                        compared.append(_compare_phase(phase, one, other, rules))
        except KeyboardInterrupt:
            if not compared:
                raise
            status = "interrupted"
    return ComparisonReport(
        status=status,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        a=first.value,
        b=second.value,
        specs=(a.record.spec, b.record.spec),
        stand_ins=tuple(dict.fromkeys((*a.record.stand_ins, *b.record.stand_ins))),
        rules=rules,
        environment=environment,
        phases=tuple(compared),
        left_out=tuple(left_out),
        failed=tuple(failed),
    )


def _compare_phase(
    phase: str, one: PhaseWorkload, other: PhaseWorkload, rules: Rules
) -> PhaseComparison:
    race_rules = RaceRules(
        _ROUNDS, rules.budget_seconds, rules.load_limit_cores, rules.sample_seconds
    )
    try:
        one.setup()
        other.setup()
        found = race(
            {"A": one.call, "B": other.call, _AGAIN: one.call}, race_rules, stopwatch(one.device)
        )
    finally:
        one.teardown()
        other.teardown()
    b_over_a, control = found.compare("A", "B"), found.compare("A", _AGAIN)
    return PhaseComparison(
        phase=phase,
        verdict=verdict_on(b_over_a, control),
        b_over_a=b_over_a,
        control=control,
        a_call=_amounts(one),
        b_call=_amounts(other),
        race=found,
    )


def _amounts(workload: PhaseWorkload) -> Amounts:
    return Amounts(
        examples=workload.examples,
        real_tokens=workload.real_tokens,
        padded_tokens=workload.padded_tokens,
    )


def verdict_on(b_over_a: Comparison, control: Comparison) -> str:
    """The verdict on B, from B against A and A against itself."""
    if not b_over_a.measured or not control.measured or control.differs:
        return "not measured"
    if not b_over_a.differs or b_over_a.ratio is None:
        return "no difference shown"
    return "slower" if b_over_a.ratio > 1 else "faster"
