"""Estimate the duration of a run from its counted operations and this machine's measured speed.

The operations of a batch are counted on torch's meta device, stage by stage, with the shortcuts of
the plan. Each operation takes the longer of its arithmetic and its memory traffic, plus a constant
overhead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clsbench.bench.flops import OperationCounter
from clsbench.bench.machine_peak import LimitsMeter, shortest
from clsbench.bench.stopwatch import undisturbed_stopwatch
from clsbench.components.resolve import Experiment
from clsbench.data.tokens import row_keys
from clsbench.experiment.planning import Planned, outline_experiment
from clsbench.experiment.preparation import PreparedData
from clsbench.fastpath.chain import Chain, Inputs
from clsbench.model.classifier import Classifier
from clsbench.schema.record import Estimate
from clsbench.training.schedule import TrainBatch, beforehand, training_schedule
from clsbench.training.selection import selects

_CALIBRATION_SECONDS = 0.15
_SIDE = 1024
_COPIED_BYTES = 2**26


class Speed(NamedTuple):
    """The speed of a device: FLOPs and bytes per second, and the overhead of an operation."""

    flops_per_second: float
    bytes_per_second: float
    seconds_per_operation: float


class Work(NamedTuple):
    """Operations as (FLOPs, bytes moved) each."""

    operations: tuple[tuple[float, float], ...] = ()

    def seconds(self, speed: Speed) -> float:
        """The estimated seconds at this speed."""
        return sum(
            max(flops / speed.flops_per_second, moved / speed.bytes_per_second)
            + speed.seconds_per_operation
            for flops, moved in self.operations
        )


# --- this machine ---------------------------------------------------------------------------------


def measure_speed(device: torch.device, precision: str) -> Speed:
    """Measure a matrix product, a copy and a small network's step, in about half a second.

    On the CPU, the time in which other processes have the processor is not counted: what runs now
    says little about the load during the run, and with several threads it can slow down a short
    measurement tenfold.
    """
    watch = undisturbed_stopwatch(device)
    meter = LimitsMeter(device, precision, _SIDE, _COPIED_BYTES, _CALIBRATION_SECONDS, watch)
    meter.measure()
    peak = meter.best()
    layers = [layer for _ in range(8) for layer in (nn.Linear(8, 8), nn.LayerNorm(8), nn.GELU())]
    network = nn.Sequential(*layers).to(device)
    rows = torch.zeros(2, 8, device=device)

    def step() -> None:
        network(rows).sum().backward()

    with OperationCounter() as counter:
        step()
    return Speed(
        flops_per_second=peak.flops_per_second,
        bytes_per_second=peak.bytes_per_second,
        seconds_per_operation=shortest(step, _CALIBRATION_SECONDS, watch) / len(counter.operations),
    )


# --- the run --------------------------------------------------------------------------------------


def estimate_run(
    experiment: Experiment, planned: Planned, data: PreparedData, speed: Speed
) -> Estimate:
    """Estimate the seconds of the run by phase, without activations of earlier runs."""
    train = experiment.spec.train
    outline = outline_experiment(experiment, len(data.facts.class_names)).classifier
    passes = _Passes(outline, planned, data, train.batch_size)
    optimizer = planned.recipe.optimizer
    evaluated = [0] * train.epochs
    batches = [0] * train.epochs
    steps = [0] * train.epochs
    sizes = data.facts.sizes
    with torch.random.fork_rng(devices=[]):
        for event in training_schedule(
            sizes["train"], sizes["validation"], train, optimizer.full_batch
        ):
            if isinstance(event, TrainBatch):
                parts = -(-len(event.indices) // train.batch_size)
                batches[event.epoch] += parts * optimizer.evaluations()
                steps[event.epoch] += event.update
            else:
                evaluated[event.epoch] += len(event.train) + len(event.validation)
        looks = beforehand(sizes, train)
    if selects(train):
        for epoch in range(train.epochs):
            evaluated[epoch] += -(-sizes["validation"] // train.batch_size)
    before = sum(len(b) for of in (looks.accuracy, looks.loss) for b in of.values())
    training = before * passes.evaluation(0).seconds(speed)
    for epoch in range(train.epochs):
        training += batches[epoch] * passes.gradients(epoch).seconds(speed)
        training += steps[epoch] * passes.step(epoch).seconds(speed)
        training += evaluated[epoch] * passes.evaluation(epoch).seconds(speed)
    scored = sum(-(-size // train.batch_size) for size in sizes.values())
    features = any(each.inputs == "pooled-features" for each in experiment.baselines)
    return Estimate(
        prefix_seconds=passes.prefix_seconds(speed),
        training_seconds=training,
        evaluation_seconds=scored * passes.evaluation(train.epochs - 1).seconds(speed),
        features_seconds=scored * passes.evaluation(0).seconds(speed) if features else 0.0,
    )


class _Passes:
    """The operations of one batch in each role, counted once per distinct epoch."""

    def __init__(
        self,
        outline: Classifier,
        planned: Planned,
        data: PreparedData,
        batch_size: int,
    ) -> None:
        self._outline = outline
        self._freezing = planned.freezing
        self._plan = plan = planned.fast
        self._memory_passes = planned.recipe.optimizer.memory_passes()
        self._chain = Chain(outline, plan.single)
        self._batch_size = batch_size
        splits = data.tokens.by_name().values()
        lengths = torch.cat([rows.lengths for rows in splits]).clamp(min=1)
        self._texts = len({key for rows in splits for key in row_keys(rows)})
        # Packed texts cost as much as texts of mean length, narrowed ones as the longest of a
        # batch.
        self._width = data.facts.max_length
        if plan.unpadded or not data.tokens.train.padded:
            self._width = max(round(float(lengths.double().mean())), 1)
        self._known: dict[tuple[object, ...], Work] = {}
        self._shapes: dict[int, tuple[int, ...]] = {}
        with torch.no_grad():
            self._forward(0, len(self._chain))

    def prefix_seconds(self, speed: Speed) -> float:
        """The operations for computing the deepest frozen prefix of all distinct texts, once per
        change."""
        cut = max(cut for cut, _ in self._plan.epochs)
        if not cut:
            return 0.0

        def through() -> None:
            with torch.no_grad():
                self._forward(0, cut)

        times = len({since for of, since in self._plan.epochs if of})
        work = self._counted(("prefix", cut), through)
        return times * self._texts / self._batch_size * work.seconds(speed)

    def gradients(self, epoch: int) -> Work:
        """The operations of a batch forward and backward after the cut."""
        trained = self._freezing.by_epoch[epoch]
        cut = self._plan.epochs[epoch].cut

        def step() -> None:
            self._freezing.apply(self._outline, trained)
            logits = self._outline.out_head(self._forward(cut, len(self._chain)))
            labels = torch.zeros(self._batch_size, dtype=torch.int64, device="meta")
            F.cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]

        return self._counted(("gradients", cut, trained), step)

    def step(self, epoch: int) -> Work:
        """An optimizer step."""
        self._freezing.apply(self._outline, self._freezing.by_epoch[epoch])
        sizes = [p.numel() for p in self._outline.parameters() if p.requires_grad]
        return Work(((0.0, 4.0 * self._memory_passes * sum(sizes)),))

    def evaluation(self, epoch: int) -> Work:
        """The operations of a batch forward after the cut."""
        cut = self._plan.epochs[epoch].cut

        def evaluate() -> None:
            with torch.no_grad():
                self._outline.out_head(self._forward(cut, len(self._chain)))

        return self._counted(("evaluation", cut), evaluate)

    def _forward(self, begin: int, end: int) -> Tensor:
        with torch.device("meta"):
            ids = torch.zeros(self._batch_size, self._width, dtype=torch.int64)
            lengths = torch.full((self._batch_size,), self._width)
            inputs = Inputs(ids, lengths, lengths - 1, None)
            context = self._chain.context(inputs)
            hidden = torch.empty(self._shapes[begin]) if begin else None
            for index in range(begin, end):
                hidden = self._chain.run(index, hidden, context, inputs)
                self._shapes[index + 1] = tuple(hidden.shape)
        assert hidden is not None
        return hidden

    def _counted(self, key: tuple[object, ...], call: Callable[[], object]) -> Work:
        if key not in self._known:
            for parameter in self._outline.parameters():
                parameter.grad = None
            with OperationCounter() as counter:
                call()
            self._known[key] = Work(tuple(counter.operations))
        return self._known[key]
