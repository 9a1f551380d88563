"""Prepare an experiment for timing: its parts, and one representative batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from clsbench.components.catalog import Catalog
from clsbench.components.resolve import Experiment
from clsbench.components.values import Text
from clsbench.data.encoding import TextEncoder
from clsbench.data.tokens import TokenRows, row_keys
from clsbench.experiment.planning import Planned, identify_run, plan_run
from clsbench.experiment.preparation import PreparedData, PreparedFiles, prepare_data, prepare_files
from clsbench.fastpath.plan import FastPlan
from clsbench.model.build import build_classifier
from clsbench.model.classifier import Classifier
from clsbench.model.freezing import FreezingPlan
from clsbench.schema.options import RunOptions
from clsbench.schema.record import RunRecord
from clsbench.training.recipe import Recipe

_BATCHES_OF_PREFIX = 4


class Subject(NamedTuple):
    """An experiment that is ready for timing: its parts, and one representative batch.

    ``rows`` holds the batch as the split ``train``: training texts from the shortest to the longest
    in even steps; ``texts`` are these texts. ``record`` describes the experiment and what trains.
    """

    experiment: Experiment
    device: torch.device
    precision: str
    classifier: Classifier
    encoder: TextEncoder
    freezing: FreezingPlan
    recipe: Recipe
    plan: FastPlan
    rows: TokenRows
    prefix_rows: TokenRows
    texts: tuple[Text, ...]
    record: RunRecord


class PlannedSubject(NamedTuple):
    """An experiment whose weights are not built yet."""

    files: PreparedFiles
    data: PreparedData
    planned: Planned


def plan_subject(
    experiment: Experiment, options: RunOptions, device: torch.device, catalog: Catalog
) -> PlannedSubject:
    """Find files, load data and make the plan, so that errors are raised before timing.

    Raises:
        UsageError: the request is invalid.
        AssetError: data or weights are unavailable.
    """
    files = prepare_files(experiment, options, catalog)
    data = prepare_data(files.experiment, files.files)
    record = identify_run(files.experiment, options, device, files, data)
    planned = plan_run(files.experiment, options, device, data, record)
    return PlannedSubject(files, data, planned)


def build_subject(subject: PlannedSubject, options: RunOptions, device: torch.device) -> Subject:
    """Build the classifier and choose the texts; call it inside ``circumstances(options)``."""
    files, data, planned = subject
    experiment = files.experiment
    classifier = build_classifier(
        experiment,
        files.files,
        len(data.facts.class_names),
        experiment.spec.seed,
        options.precision,
    ).to(device)
    batch_size = experiment.spec.train.batch_size
    train = data.tokens.train
    indices = _spread(range(len(train)), train.lengths, batch_size)
    distinct = _distinct(train)
    more = _spread(distinct, train.lengths, min(_BATCHES_OF_PREFIX * batch_size, len(distinct)))
    return Subject(
        experiment=experiment,
        device=device,
        precision=options.precision,
        classifier=classifier,
        encoder=TextEncoder(
            experiment.backbone.tokenizer(files.files), experiment.spec.data.pair_separator
        ),
        freezing=planned.freezing,
        recipe=planned.recipe,
        plan=planned.fast,
        rows=train.take(indices),
        prefix_rows=train.take(more),
        texts=tuple(data.splits.train.texts[index] for index in indices),
        record=planned.record,
    )


def prepare_subject(
    experiment: Experiment, options: RunOptions, device: torch.device, catalog: Catalog
) -> Subject:
    """Plan and build; call it inside ``circumstances(options)``.

    Raises:
        UsageError: the request is invalid.
        AssetError: data or weights are unavailable.
    """
    return build_subject(plan_subject(experiment, options, device, catalog), options, device)


def _spread(texts: Sequence[int], lengths: Tensor, count: int) -> list[int]:
    """``count`` of the texts, from the shortest to the longest in even steps."""
    order = sorted(texts, key=lambda text: int(lengths[text]))
    return [order[place] for place in torch.linspace(0, len(order) - 1, count).round().int()]


def _distinct(rows: TokenRows) -> list[int]:
    """One text for each distinct row of tokens."""
    first: dict[str, int] = {}
    for text, key in enumerate(row_keys(rows)):
        first.setdefault(key, text)
    return list(first.values())
