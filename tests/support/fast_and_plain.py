"""Train a small classifier with and without shortcuts, to compare the outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from components_of_the_catalog import CATALOG
from recipes import make_recipe
from torch import Tensor

import clsbench
from clsbench.components.values import StepReport
from clsbench.data.tokens import TokenizedSplits, TokenRows, pad_rows
from clsbench.fastpath.fast_forward import FastForward, Shortcuts
from clsbench.fastpath.forward import Forward, PlainForward
from clsbench.fastpath.kept_rows import Room
from clsbench.fastpath.plan import Batching, FastPlan, plan_fast_path
from clsbench.fastpath.safety.trial import check_equivalence
from clsbench.model.classifier import Classifier
from clsbench.model.freezing import plan_freezing
from clsbench.model.parameters import without_weights
from clsbench.schema.record import ModelSelection
from clsbench.schema.training import TrainSettings
from clsbench.training.fit import fit
from clsbench.training.log import TrainingLog
from clsbench.training.schedule import training_schedule

NUM_CLASSES = 3
CPU = torch.device("cpu")
IN_FLOAT32 = {"cpu": 1e-5, "cuda": 1e-4}
"""Relative tolerance of losses over 50 steps in float32 without TF32, by device type.

The two paths multiply matrices of different shapes, for which cuBLAS may choose different kernels,
and so another order of additions. In float64 every device has the same tolerances.
"""
EVERYTHING_IN_MEMORY = Room(memory_bytes=2**30, disk=None)


class Setup(NamedTuple):
    """The parts of a classifier, how its texts are batched, and where it is computed.

    ``precision`` is ``bf16`` for autocast, and ``fp32`` for the dtype of the parameters. ``parts``
    are those of the training recipe that differ from the default.
    """

    backbone: clsbench.Backbone
    pooling: clsbench.Pooling
    head: clsbench.Head
    freezing: clsbench.FreezingStrategy
    adapter: clsbench.Adapter | None
    settings: TrainSettings
    padded: bool = True
    device: torch.device = CPU
    precision: str = "fp32"
    parts: Mapping[str, Any] = MappingProxyType({})


class Outcome(NamedTuple):
    """Losses of steps and evaluations, and final weights and logits on the CPU."""

    losses: list[float]
    evaluations: list[float]
    weights: dict[str, Tensor]
    logits: dict[str, Tensor]
    plan: FastPlan | None
    forward: Forward
    problem: str | None
    selection: ModelSelection | None = None


def random_rows(
    generator: torch.Generator, lengths: Sequence[int], width: int, vocabulary: int, padded: bool
) -> TokenRows:
    """Rows of random tokens with these lengths; the padding id 0 also occurs in texts."""
    encoded = [
        torch.randint(vocabulary, (length,), generator=generator).tolist() for length in lengths
    ]
    input_ids, real = pad_rows(encoded, width, 0)
    labels = torch.randint(NUM_CLASSES, (len(lengths),), generator=generator)
    return TokenRows(input_ids, real, labels, truncated=0, padded=padded)


def random_splits(
    seed: int, lengths: Sequence[int], width: int, vocabulary: int, padded: bool = True
) -> TokenizedSplits:
    """A training split with these lengths; validation and test share some of its texts."""
    generator = torch.Generator().manual_seed(seed)
    train, validation, test = (
        random_rows(generator, part, width, vocabulary, padded)
        for part in (lengths, lengths[::2], lengths[1::2] or lengths)
    )
    validation.input_ids[0], validation.lengths[0] = train.input_ids[0], train.lengths[0]
    return TokenizedSplits(train, validation, test, width)


def run_both(
    setup: Setup, splits: TokenizedSplits, dtype: torch.dtype, trial: bool = False
) -> tuple[Outcome, Outcome]:
    """Train without shortcuts and with those that the plan (and the ``trial``) allow."""
    plain = train(setup, splits, dtype, None)
    return plain, train(setup, splits, dtype, EVERYTHING_IN_MEMORY, trial=trial)


def train(
    setup: Setup,
    splits: TokenizedSplits,
    dtype: torch.dtype,
    room: Room | None,
    key: Callable[[Classifier, FastPlan, int], object] | None = None,
    trial: bool = False,
) -> Outcome:
    """Train from a fixed seed; with ``room`` on the fast path, optionally after a ``trial``."""
    parameters = setup.backbone.describe()
    freezing = plan_freezing(setup.freezing, parameters, setup.settings.epochs, "under test")
    torch.manual_seed(7)
    recipe = make_recipe(setup.settings, NUM_CLASSES, **setup.parts)
    sizes = len(splits.train), len(splits.validation)
    full_batch = recipe.optimizer.full_batch
    events = tuple(training_schedule(*sizes, setup.settings, full_batch))
    torch.manual_seed(7)
    classifier = _classifier(setup, setup.backbone.build({})).to(setup.device, dtype)
    plan = None
    with default_dtype(dtype):
        if room is not None:
            with without_weights():
                outline = _classifier(setup, setup.backbone.skeleton())
            batching = Batching(setup.padded, setup.settings.batch_size, splits.max_length)
            plan = plan_fast_path(outline, setup.pooling, freezing, batching)
        fast = plan is not None and any(shortcut.taken for shortcut in plan.shortcuts)
        plain = PlainForward(classifier, splits.by_name(), setup.device, setup.precision)
        forward: Forward = plain
        if fast and plan is not None and room is not None:
            shortcuts = Shortcuts(plan, setup.pooling, room, _keys(classifier, plan, key))
            forward = FastForward(
                classifier, plain.splits, plain.device, setup.precision, shortcuts
            )
        freezing.apply(classifier, freezing.by_epoch[0])
        losses: list[float] = []

        class Watching:
            @clsbench.hookimpl
            def clsbench_step_finished(self, report: StepReport) -> None:
                losses.append(report.loss())

        log = TrainingLog()
        torch.manual_seed(11)
        found = check_equivalence(forward, freezing, setup.settings.batch_size) if trial else None
        problem = None if found is None else found.text
        if problem is not None:
            forward = plain
        forward.prepare(lambda done, total: None)
        torch.manual_seed(11)
        fit(forward, events, freezing, recipe, log, CATALOG.lifecycle([Watching()]))
        logits = {n: forward.all_logits(n, setup.settings.batch_size) for n in splits.by_name()}
    return Outcome(
        losses,
        [loss for entry in log.steps for loss in (entry.train_loss, entry.validation_loss)],
        {name: p.detach().clone().cpu() for name, p in classifier.named_parameters()},
        logits,
        plan,
        forward,
        problem,
        log.selection,
    )


def _keys(
    classifier: Classifier,
    plan: FastPlan | None,
    key: Callable[[Classifier, FastPlan, int], object] | None,
) -> Callable[[int], object]:
    return lambda cut: None if key is None or plan is None else key(classifier, plan, cut)


def _classifier(setup: Setup, backbone: torch.nn.Module) -> Classifier:
    width = setup.backbone.hidden_size()
    head = setup.head.build(width, NUM_CLASSES)
    classifier = Classifier(backbone, setup.pooling.build(width), head)
    if setup.adapter is not None:
        setup.adapter.apply(classifier)
    return classifier


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """New tensors of floating point have this dtype inside the block."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
