"""The hooks of clsbench: what plugins may register and observe.

Decorate a function of the same name with ``@clsbench.hookimpl``. Registration hooks return a
mapping from name to component class (to an object, for methods, experiments and suites);
lifecycle hooks return nothing and change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pluggy

from clsbench.schema.experiment import ExperimentSpec, Method
from clsbench.schema.suite import SuiteSpec

if TYPE_CHECKING:
    from pathlib import Path

    from clsbench.components.axes import (
        Adapter,
        Backbone,
        Baseline,
        Dataset,
        FreezingStrategy,
        Head,
        Pooling,
    )
    from clsbench.components.metric import Metric
    from clsbench.components.outer_axes import Executor, Exporter
    from clsbench.components.training_axes import Loss, Optimizer, Schedule
    from clsbench.components.tuner import Tuner
    from clsbench.components.values import RunPlan, StepReport
    from clsbench.schema.record import EpochEntry, RunRecord, StepEntry

PROJECT = "clsbench"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class RegistrationHooks:
    """Registration of components, one hook per axis."""

    @hookspec
    def clsbench_register_datasets(self) -> Mapping[str, type[Dataset]]:
        """Data sets by name."""
        raise NotImplementedError

    @hookspec
    def clsbench_register_backbones(self) -> Mapping[str, type[Backbone]]:
        """Backbones by name."""
        raise NotImplementedError

    @hookspec
    def clsbench_register_poolings(self) -> Mapping[str, type[Pooling]]:
        """Poolings by name."""
        raise NotImplementedError

    @hookspec
    def clsbench_register_heads(self) -> Mapping[str, type[Head]]:
        """Classification heads by name."""
        raise NotImplementedError

    @hookspec
    def clsbench_register_freezing_strategies(self) -> Mapping[str, type[FreezingStrategy]]:
        """Freezing strategies by name."""
        raise NotImplementedError

    @hookspec
    def clsbench_register_adapters(self) -> Mapping[str, type[Adapter]]:
        """Adapters by name."""
        raise NotImplementedError

    @hookspec
    def clsbench_register_methods(self) -> Mapping[str, Method]:
        """Methods by name: a freezing strategy and an adapter together."""
        raise NotImplementedError

    @hookspec
    def clsbench_register_optimizers(self) -> Mapping[str, type[Optimizer]]:
        """Optimizers by name."""
        raise NotImplementedError

    @hookspec
    def clsbench_register_schedules(self) -> Mapping[str, type[Schedule]]:
        """Schedules of the learning rate by name."""
        raise NotImplementedError

    @hookspec
    def clsbench_register_losses(self) -> Mapping[str, type[Loss]]:
        """Losses by name."""
        raise NotImplementedError

    @hookspec
    def clsbench_register_baselines(self) -> Mapping[str, type[Baseline]]:
        """Baselines by name."""
        raise NotImplementedError

    @hookspec
    def clsbench_register_experiments(self) -> Mapping[str, ExperimentSpec]:
        """Named experiments."""
        raise NotImplementedError

    @hookspec
    def clsbench_register_suites(self) -> Mapping[str, SuiteSpec]:
        """Named suites: experiments that differ from a base."""
        raise NotImplementedError

    @hookspec
    def clsbench_register_executors(self) -> Mapping[str, type[Executor]]:
        """Executors by name."""
        raise NotImplementedError

    @hookspec
    def clsbench_register_exporters(self) -> Mapping[str, type[Exporter]]:
        """Exporters by name: formats of ``clsbench export``."""
        raise NotImplementedError

    @hookspec
    def clsbench_register_tuners(self) -> Mapping[str, type[Tuner]]:
        """Tuners by name: what the trials of ``clsbench suite --tune`` try."""
        raise NotImplementedError

    @hookspec
    def clsbench_register_metrics(self) -> Mapping[str, type[Metric]]:
        """Metrics by name."""
        raise NotImplementedError


class LifecycleHooks:
    """The events of a run that a plugin may observe; the progress display is one such observer.

    An implementation names all or some of the arguments; later versions may add arguments.
    """

    @hookspec
    def clsbench_run_started(self, plan: RunPlan, name: str | None) -> None:
        """A run begins; ``plan`` says what it will do.

        ``name`` is the name of its directory in the store, ``None`` for a dry run. If another run
        takes that name in the meantime, a number is appended: the path passed to
        ``clsbench_run_finished`` is final.
        """

    @hookspec
    def clsbench_phase_started(self, phase: str) -> None:
        """A phase begins: assets, data, model, prefix, training, evaluation, baselines."""

    @hookspec
    def clsbench_prefix_progressed(self, done: int, total: int) -> None:
        """Of the frozen prefix, ``done`` of ``total`` token positions are computed."""

    @hookspec
    def clsbench_step_finished(self, report: StepReport) -> None:
        """One batch was trained on."""

    @hookspec
    def clsbench_evaluated(self, entry: StepEntry) -> None:
        """The loss was measured on a few batches of train and validation."""

    @hookspec
    def clsbench_epoch_finished(self, entry: EpochEntry) -> None:
        """An epoch ended, its accuracies measured on a few batches."""

    @hookspec
    def clsbench_run_finished(self, record: RunRecord, path: Path) -> None:
        """The run ended and is stored in the directory ``path``, whatever its status."""
