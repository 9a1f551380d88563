"""Plan a run: parameters, memory, shortcuts, keys, and the first half of the record."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

import torch
from msgspec.structs import replace
from torch import nn

from clsbench.analysis.metrics import refuse_undefined
from clsbench.components.identity import DECIDE_PREDICTIONS, identify, label_of
from clsbench.components.resolve import Experiment
from clsbench.components.values import RunPlan
from clsbench.errors import ClsbenchError, PluginError
from clsbench.experiment.preparation import PreparedData, PreparedFiles, experiment_fingerprint
from clsbench.fastpath.plan import (
    PREFIX,
    SHORTCUTS,
    Batching,
    FastPlan,
    in_room,
    kept_bytes,
    plan_fast_path,
)
from clsbench.fastpath.shortcuts import cache_facts_of, memory_room_bytes
from clsbench.model.counts import (
    ClassifierOutline,
    count_parameters,
    expected_memory_bytes,
    outline_classifier,
)
from clsbench.model.freezing import FreezingPlan, plan_freezing, refuse_nothing_to_train
from clsbench.model.parameters import without_weights
from clsbench.schema.experiment import COMPONENT_KEYS, fingerprint, value_at
from clsbench.schema.options import RunOptions
from clsbench.schema.quantities import size_bytes
from clsbench.schema.record import FastPath, RunRecord
from clsbench.system.environment import describe_environment, working_directory
from clsbench.system.seeding import seeded
from clsbench.training.full_batch import check_full_batch
from clsbench.training.recipe import (
    Recipe,
    build_loss,
    build_optimizer,
    optimizer_costs,
    recipe_of,
)
from clsbench.training.schedule import Event, TrainBatch


class Limits(NamedTuple):
    """The limits for the kept activations of a frozen prefix.

    ``lengths`` are those of the texts in tokens, ``width`` is the number of features per position,
    ``room`` is in bytes of memory and of disk.
    """

    lengths: tuple[int, ...]
    padded_length: int
    width: int
    precision: str
    room: tuple[int, int]

    def apply(self, plan: FastPlan) -> tuple[FastPlan, int]:
        """The plan within the limits, and the maximum memory of its prefix in bytes."""
        most_bytes, least_bytes = (
            kept_bytes(plan, some, self.padded_length, self.width, self.precision)
            for some in (self.lengths, [min(self.lengths)])
        )
        plan = in_room(plan, most_bytes, least_bytes, self.room)
        return plan, min(most_bytes, self.room[0]) if PREFIX in plan.taken() else 0


class Planned(NamedTuple):
    """A planned run: what trains in which epoch, the shortcuts, and the record before training.

    ``recipe`` is how it trains. ``fast`` is ``unlimited`` within the ``limits``. ``working_bytes``
    is the estimated memory of weights, gradients, optimizer and a batch, without the frozen prefix.
    """

    freezing: FreezingPlan
    recipe: Recipe
    unlimited: FastPlan
    limits: Limits
    fast: FastPlan
    record: RunRecord
    working_bytes: int

    def without(self, names: Collection[str], reason: str) -> Planned:
        """The plan with the shortcuts ``names`` disabled for this reason."""
        unlimited = self.unlimited.without(names, reason)
        fast, memory_bytes = self.limits.apply(unlimited)
        record = replace(
            self.record,
            memory_bytes_expected=self.working_bytes + memory_bytes,
            fast_path=FastPath(shortcuts=fast.shortcuts),
        )
        return self._replace(unlimited=unlimited, fast=fast, record=record)


def identify_run(
    experiment: Experiment,
    options: RunOptions,
    device: torch.device,
    files: PreparedFiles,
    data: PreparedData,
) -> RunRecord:
    """The record of a run before planning: identity, environment, data and warnings."""
    spec = experiment.spec
    identities = identify(experiment)
    key = experiment_fingerprint(experiment, identities, data)
    return RunRecord(
        status="planned",
        experiment=spec.name,
        fingerprint=key,
        run_key=run_key(key, device.type, options.precision, spec.seed),
        created=datetime.now(UTC).isoformat(timespec="milliseconds"),
        spec=dict(experiment.tree),
        spec_fingerprint=fingerprint(experiment.identity()),
        modified=experiment.modified,
        published=spec.published,
        stand_ins=files.stand_ins,
        plugins=identities,
        environment=describe_environment(device, options),
        data=data.facts,
        assets=files.sha256,
        warnings=(
            *(f"not here yet, a run would fetch it: {a.key}" for a in files.absent),
            *files.warnings,
            *data.warnings,
        ),
        working_directory=working_directory(),
    )


def plan_run(
    experiment: Experiment,
    options: RunOptions,
    device: torch.device,
    data: PreparedData,
    record: RunRecord,
) -> Planned:
    """Call the freezing strategy, count parameters and estimate memory; weights are not needed.

    ``record`` is the record from :func:`identify_run`; the plan's record adds to it.

    Raises:
        UsageError: the strategy names a parameter that does not exist, or an epoch trains no
            parameter.
        PluginError: the strategy or a part of the training recipe fails, or the classifier cannot
            be built on the meta device.
    """
    spec = experiment.spec
    strategy = experiment.label("freezing")
    with _naming_components(experiment):
        outline = outline_experiment(experiment, len(data.facts.class_names))
    parameters = experiment.backbone.describe()
    with seeded(spec.seed):
        freezing = plan_freezing(experiment.freezing, parameters, spec.train.epochs, strategy)
    for names in set(freezing.by_epoch):
        freezing.apply(outline.classifier, names)
        refuse_nothing_to_train(outline.classifier, strategy)
    recipe = recipe_of(experiment, data.facts)
    state_size = optimizer_costs(recipe).state_size
    freezing.apply(outline.classifier, freezing.ever())
    build_optimizer(recipe, outline.classifier)
    build_loss(recipe)
    with _naming_components(experiment):
        working_bytes = expected_memory_bytes(
            outline,
            freezing,
            spec.train.batch_size,
            data.facts.max_length,
            options.precision,
            # The weights of the best epoch are kept beside the optimizer's state.
            state_size + (spec.train.select == "best-validation"),
        )
        unlimited = plan_fast_path(
            outline.classifier,
            experiment.pooling,
            freezing,
            Batching(data.tokens.train.padded, spec.train.batch_size, data.facts.max_length),
            _forbidden(experiment, options),
            cache_facts_of(experiment),
        )
    limits = Limits(
        lengths=tuple(n for rows in data.tokens.by_name().values() for n in rows.lengths.tolist()),
        padded_length=data.facts.max_length,
        width=experiment.backbone.hidden_size(),
        precision=options.precision,
        room=(memory_room_bytes(options, device, working_bytes), size_bytes(options.cache_disk)),
    )
    fast, kept_most_bytes = limits.apply(unlimited)
    check_full_batch(recipe, freezing, fast)
    record = replace(
        record,
        parameters=count_parameters(outline, freezing),
        full_batch=recipe.optimizer.full_batch,
        memory_bytes_expected=working_bytes + kept_most_bytes,
        fast_path=FastPath(shortcuts=fast.shortcuts),
    )
    return Planned(freezing, recipe, unlimited, limits, fast, record, working_bytes)


def check_metrics(experiment: Experiment, data: PreparedData, only_primary: bool) -> None:
    """Check that the metrics can be computed on the validation and test texts.

    ``only_primary`` leaves out the others, whose libraries may be slow to load.

    Raises:
        UndefinedMetricError: the primary one cannot.
        PluginError: one fails.
    """
    primary = experiment.primary
    metrics = {n: m for n, m in experiment.metrics.items() if n == primary or not only_primary}
    rows = data.tokens.by_name()
    labels = {split: rows[split].labels.numpy() for split in ("validation", "test")}
    refuse_undefined(metrics, primary, labels, len(data.facts.class_names))


def run_key(experiment_fingerprint: str, device_kind: str, precision: str, seed: int) -> str:
    """The key by which finished runs are found, so that they are not repeated."""
    return fingerprint([experiment_fingerprint, device_kind, precision, seed])


def _forbidden(experiment: Experiment, options: RunOptions) -> dict[str, str]:
    """The shortcuts that the user or a component disables, with the reasons."""
    if options.plain:
        return dict.fromkeys(SHORTCUTS, "switched off by --plain")
    for each in (each for chosen in experiment.components for each in chosen.with_parts()):
        if each.axis in DECIDE_PREDICTIONS and each.component.stateful:
            kind = type(each.component).__name__
            reason = f"the {each.axis} declares stateful = True ({kind})"
            return dict.fromkeys(SHORTCUTS, reason)
    return {name: f"switched off by --no-fast {name}" for name in options.no_fast}


def announcement(record: RunRecord, events: Iterable[Event]) -> RunPlan:
    """The plan as passed to observers; ``events`` are those of its training."""
    assert record.parameters is not None
    assert record.data is not None
    train = record.spec["train"]
    return RunPlan(
        experiment=record.experiment,
        stand_ins=tuple(f"{s.by} in place of {s.replaced}" for s in record.stand_ins),
        components={
            each.axis: label_of(value_at(record.spec, each.axis), each)
            for each in record.plugins
            if each.axis in COMPONENT_KEYS
        },
        device=record.environment.device,
        precision=record.environment.precision,
        seed=record.spec["seed"],
        epochs=train["epochs"],
        steps=sum(isinstance(event, TrainBatch) for event in events),
        train_texts=record.data.sizes["train"],
        max_length=record.data.max_length,
        dropped=record.data.dropped,
        parameters_total=record.parameters.total,
        parameters_trainable=record.parameters.trainable,
        shortcuts=record.fast_path.shortcuts if record.fast_path is not None else (),
        trainable_by_epoch=record.parameters.trainable_by_epoch,
        trained_stages=record.parameters.trained_stages,
    )


@contextmanager
def _naming_components(experiment: Experiment) -> Iterator[None]:
    """Convert an error of a classifier without data, which a component has caused."""
    try:
        yield
    except ClsbenchError:
        raise
    except Exception as error:
        named = ", ".join(
            each.quoted_name for each in experiment.components if each.axis in DECIDE_PREDICTIONS
        )
        raise PluginError(
            f"the classifier of {named} cannot be made or run on torch's meta device, where every "
            f"run counts parameters and memory first: {type(error).__name__}: {error}; a plugin's "
            "module must accept the given shapes and must not read tensor values (.item(), "
            ".tolist()); clsbench.testing checks both"
        ) from error


def outline_experiment(experiment: Experiment, num_classes: int) -> ClassifierOutline:
    """The experiment's classifier on the meta device, with its adapter."""
    hidden_size = experiment.backbone.hidden_size()
    with without_weights():
        head: nn.Module = experiment.head.build(hidden_size, num_classes)
        pooling: nn.Module = experiment.pooling.build(hidden_size)
    return outline_classifier(
        experiment.backbone.skeleton(),
        pooling,
        head,
        experiment.adapter,
        experiment.backbone.describe(),
    )
