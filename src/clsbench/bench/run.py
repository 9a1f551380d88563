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

from clsbench.bench.machine_peak import Limits, LimitsMeter
from clsbench.bench.measurement import Measurement, measure
from clsbench.bench.phases import NotApplicable, phase_workloads
from clsbench.bench.sampling import Rules
from clsbench.bench.subject import PlannedSubject, Subject, build_subject, plan_subject
from clsbench.components.catalog import Catalog
from clsbench.components.resolve import Experiment
from clsbench.errors import AssetError, ClsbenchError, UsageError
from clsbench.experiment.failures import device_text, smaller
from clsbench.schema.options import RunOptions
from clsbench.schema.record import Environment, ParameterCounts, StandIn
from clsbench.schema.training import TrainSettings
from clsbench.system.device_errors import device_error, is_out_of_memory
from clsbench.system.environment import choose_device, circumstances, describe_environment


class Variant(NamedTuple):
    """An experiment to measure, with its run options and the value of the swept setting."""

    value: str
    experiment: Experiment
    options: RunOptions


class DeviceFailedError(ClsbenchError):
    """Nothing more can be measured, because the device fails."""


class Failed(msgspec.Struct, frozen=True):
    """A phase that failed, and the reason."""

    phase: str
    reason: str


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """The measured phases of one experiment.

    Includes its spec, the machine and the raw samples. ``value`` is that of the swept setting,
    empty without a sweep. ``limits`` is the machine's peak under the same circumstances, measured
    again after a point as long as other processes disturbed it. ``left_out`` lists phases that the
    experiment does not have, ``failed`` those that failed.
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
    ``precision`` or ``threads``; ``None`` for one point. ``status`` is ``finished``, or, if
    measurements are missing, ``interrupted`` or ``failed``: ``error`` names the failing device.
    """

    status: str
    date: str
    experiment: str
    swept: str | None
    rules: Rules
    points: tuple[Point, ...]
    error: str | None = None

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

    Completed measurements are kept after an interruption, and if the device fails. A phase that
    runs out of memory, or has a loss that is not finite, does not stop the others.

    Raises:
        ClsbenchError: the device fails before anything is measured.
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
    status, error = "finished", None
    try:
        for variant, device, plan in zip(variants, devices, planned, strict=True):
            with circumstances(variant.options):
                environment = describe_environment(device, variant.options)
                if (meter := meters.get(variant.options)) is None:
                    seconds = min(1.5, rules.budget_seconds / 4)
                    meter = LimitsMeter(device, variant.options.precision, seconds=seconds)
                    _measure_peak(meter, environment)
                    meters[variant.options] = meter
                found: list[Measurement | NotApplicable | Failed] = []
                try:
                    _measure_phases(
                        variant, plan, phases, rules, device, environment, on_phase, found
                    )
                finally:
                    if found:
                        made = functools.partial(_point, variant.value, plan, found, environment)
                        points.append((variant.options, made))
                gc.collect()  # the classifier and its activations form reference cycles
                if device.type == "cuda":
                    torch.cuda.empty_cache()
                if meter.best().foreign_cores > rules.load_limit_cores:
                    _measure_peak(meter, environment)
    except KeyboardInterrupt:
        if not points:
            raise
        status = "interrupted"
    except DeviceFailedError as failure:
        if not points:
            raise
        status, error = "failed", str(failure)
    return BenchReport(
        status=status,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        experiment=variants[0].experiment.spec.name,
        swept=swept,
        rules=rules,
        points=tuple(made(meters[options].best()) for options, made in points),
        error=error,
    )


def _measure_phases(
    variant: Variant,
    plan: PlannedSubject,
    phases: Sequence[str],
    rules: Rules,
    device: torch.device,
    environment: Environment,
    on_phase: OnPhase,
    found: list[Measurement | NotApplicable | Failed],
) -> None:
    """Measure the phases of one variant and add them to ``found``; then free the classifier."""
    subject: Subject | None = None
    for phase in phases:
        on_phase(variant.value, phase)
        with failing_phase(phase, found, environment, variant.experiment.spec.train):
            subject = subject or build_subject(plan, variant.options, device)
            (workload,) = phase_workloads(subject, [phase])
            if isinstance(workload, NotApplicable):
                found.append(workload)
            else:
                found.append(measure(workload, rules))
        if found and isinstance(found[-1], Failed):
            gc.collect()  # memory of the failed phase is in reference cycles


@contextlib.contextmanager
def failing_phase(
    phase: str, found: list[Any], environment: Environment, train: TrainSettings
) -> Iterator[None]:
    """Add a phase to ``found`` as failed if the error is expected for some settings.

    Raises:
        DeviceFailedError: the device fails.
    """
    try:
        yield
    except (UsageError, AssetError):
        raise
    except Exception as error:
        cause = device_error(error)
        if cause is not None and not is_out_of_memory(cause):
            place = f" in the phase {phase!r}"
            raise DeviceFailedError(device_text(cause, environment, place, ())) from error
        if cause is not None:
            options = smaller(environment.precision, train)
            found.append(Failed(phase, device_text(cause, environment, "", options)))
        elif isinstance(error, ClsbenchError):
            found.append(Failed(phase, str(error)))
        else:
            raise


def _measure_peak(meter: LimitsMeter, environment: Environment) -> None:
    """Measure the machine's peak once more.

    Raises:
        DeviceFailedError: the device fails, or has not enough memory.
    """
    try:
        meter.measure()
    except Exception as error:
        if (cause := device_error(error)) is None:
            raise
        place = " while the machine's peak was measured"
        options = ["to free memory there"]
        raise DeviceFailedError(device_text(cause, environment, place, options)) from error


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
