"""Time the phases of two experiments alternately."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from clsbench.bench.interleaving import NOTHING_BELOW, Comparison, Race, RaceRules, race
from clsbench.bench.phases import NotApplicable, PhaseWorkload, phase_workloads
from clsbench.bench.run import DeviceFailedError, Failed, OnPhase, Variant, failing_phase
from clsbench.bench.sampling import Rules
from clsbench.bench.stopwatch import stopwatch
from clsbench.bench.subject import prepare_subject
from clsbench.components.catalog import Catalog
from clsbench.schema.record import Environment, StandIn
from clsbench.system.environment import choose_device, circumstances, describe_environment

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
    Differences below ``nothing_below`` (a fraction) are not reported. ``error`` is the reason of
    the status ``failed``: the device fails.
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
    error: str | None = None


def compare(
    first: Variant,
    second: Variant,
    phases: Sequence[str],
    rules: Rules,
    catalog: Catalog,
    on_phase: OnPhase,
) -> ComparisonReport:
    """Time the phases of two experiments alternately, with the run options of the first.

    Completed measurements are kept after an interruption, and if the device fails.

    Raises:
        ClsbenchError: the device fails before anything is measured.
        UsageError: the request is invalid.
        AssetError: data or weights are unavailable.
    """
    options = first.options
    device = choose_device(options.device, options.precision)
    compared: list[PhaseComparison] = []
    left_out: list[NotApplicable] = []
    failed: list[Failed] = []
    status, error = "finished", None
    with circumstances(options):
        environment = describe_environment(device, options)
        a, b = (
            prepare_subject(variant.experiment, options, device, catalog)
            for variant in (first, second)
        )
        try:
            for phase in phases:
                on_phase("", phase)
                with failing_phase(phase, failed, environment, first.experiment.spec.train):
                    (one,), (other,) = (tuple(phase_workloads(each, [phase])) for each in (a, b))
                    if isinstance(one, NotApplicable):
                        left_out.append(NotApplicable(phase, f"{first.value}: {one.reason}"))
                    elif isinstance(other, NotApplicable):
                        left_out.append(NotApplicable(phase, f"{second.value}: {other.reason}"))
                    else:
                        compared.append(_compare_phase(phase, one, other, rules))
        except KeyboardInterrupt:
            if not compared:
                raise
            status = "interrupted"
        except DeviceFailedError as failure:
            if not compared:
                raise
            status, error = "failed", str(failure)
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
        error=error,
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
