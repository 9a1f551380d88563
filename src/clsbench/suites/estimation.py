"""How long a run will take, before it is run: its work counted without weights, and this machine's
speed measured for a moment.

Every operation of a batch is counted on torch's meta device, along the stages that the fast path
leaves; each takes the longer of its arithmetic and its memory traffic, and something for itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from clsbench.components.resolve import Experiment
from clsbench.experiment.planning import Planned, outline_experiment
from clsbench.experiment.preparation import PreparedData
from clsbench.fastpath.chain import Chain, Inputs
from clsbench.fastpath.plan import FastPlan
from clsbench.model.classifier import Classifier
from clsbench.model.freezing import FreezingPlan
from clsbench.schema.record import Estimate
from clsbench.training.fit import OPTIMIZER_PASSES
from clsbench.training.schedule import TrainBatch, beforehand, book_schedule

_CALIBRATION_SECONDS = 0.4
_SIDE = 1024
_COPIED_BYTES = 2**26
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp64": torch.float64}


class Speed(NamedTuple):
    """What a device does in a second, and what every operation takes however small it is."""

    flops_per_second: float
    bytes_per_second: float
    seconds_per_operation: float


class Work(NamedTuple):
    """Operations as (FLOPs, bytes moved) each."""

    operations: tuple[tuple[float, float], ...] = ()

    def seconds(self, speed: Speed) -> float:
        """How long it takes at that speed."""
        return sum(
            max(flops / speed.flops_per_second, moved / speed.bytes_per_second)
            + speed.seconds_per_operation
            for flops, moved in self.operations
        )


# --- this machine ---------------------------------------------------------------------------------


def measure_speed(device: torch.device, precision: str) -> Speed:
    """A matrix product, a copy, and a small network's step: about a second and a half in all.

    Other processes that are at work meanwhile make it slower, as they would the run.
    """
    dtype = _DTYPES[precision]
    left, right = (torch.rand(_SIDE, _SIDE, device=device).to(dtype) for _ in range(2))
    source = torch.ones(_COPIED_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    product = _median_seconds(lambda: torch.mm(left, right), device)
    copying = _median_seconds(lambda: target.copy_(source), device)
    layers = [layer for _ in range(8) for layer in (nn.Linear(8, 8), nn.LayerNorm(8), nn.GELU())]
    network = nn.Sequential(*layers).to(device)
    rows = torch.zeros(2, 8, device=device)

    def step() -> None:
        network(rows).sum().backward()

    with _Counter() as counter:
        step()
    return Speed(
        flops_per_second=2 * _SIDE**3 / product,
        bytes_per_second=2 * _COPIED_BYTES / copying,
        seconds_per_operation=_median_seconds(step, device) / len(counter.operations),
    )


def _median_seconds(call: Callable[[], object], device: torch.device) -> float:
    def timed() -> float:
        started = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    timed()
    seconds: list[float] = []
    while sum(seconds) < _CALIBRATION_SECONDS or len(seconds) < 3:
        seconds.append(timed())
    return sorted(seconds)[len(seconds) // 2]


# --- the run --------------------------------------------------------------------------------------


def estimate_run(
    experiment: Experiment, planned: Planned, data: PreparedData, speed: Speed
) -> Estimate:
    """What the run would take at that speed, nothing kept from earlier runs."""
    train = experiment.spec.train
    outline = outline_experiment(experiment, len(data.facts.class_names)).classifier
    passes = _Passes(outline, planned.freezing, planned.fast, data, train.batch_size)
    evaluated = [0] * train.epochs
    steps = [0] * train.epochs
    sizes = data.facts.sizes
    with torch.random.fork_rng(devices=[]):
        for event in book_schedule(sizes["train"], sizes["validation"], train):
            if isinstance(event, TrainBatch):
                steps[event.epoch] += 1
            else:
                evaluated[event.epoch] += len(event.train) + len(event.validation)
        looks = beforehand(sizes, train)
    before = sum(len(b) for of in (looks.accuracy, looks.loss) for b in of.values())
    training = before * passes.evaluation(0).seconds(speed)
    for epoch in range(train.epochs):
        training += steps[epoch] * passes.step(epoch).seconds(speed)
        training += evaluated[epoch] * passes.evaluation(epoch).seconds(speed)
    batches = sum(-(-size // train.batch_size) for size in sizes.values())
    return Estimate(
        prefix_seconds=passes.prefix_seconds(speed),
        training_seconds=training,
        evaluation_seconds=batches * passes.evaluation(train.epochs - 1).seconds(speed),
    )


class _Passes:
    """The work of one batch in each role, counted once for each kind of epoch."""

    def __init__(
        self,
        outline: Classifier,
        freezing: FreezingPlan,
        plan: FastPlan,
        data: PreparedData,
        batch_size: int,
    ) -> None:
        self._outline = outline
        self._freezing = freezing
        self._plan = plan
        self._chain = Chain(outline, plan.single)
        self._batch_size = batch_size
        splits = data.tokens.by_name().values()
        lengths = torch.cat([rows.lengths for rows in splits]).clamp(min=1)
        distinct = {
            (int(n), *row) for rows in splits
            for n, row in zip(rows.lengths, rows.input_ids.tolist(), strict=True)
        }  # fmt: skip
        self._texts = len(distinct)
        # Packed texts take as much as their mean length; narrowed ones as the widest of a batch.
        self._width = data.facts.max_length
        if plan.unpadded or not data.tokens.train.padded:
            self._width = max(round(float(lengths.double().mean())), 1)
        self._known: dict[tuple[object, ...], Work] = {}
        self._shapes: dict[int, tuple[int, ...]] = {}
        with torch.no_grad():
            self._forward(0, len(self._chain))

    def prefix_seconds(self, speed: Speed) -> float:
        """Every distinct text through the deepest frozen prefix, once for each time it changes."""
        cut = max(cut for cut, _ in self._plan.epochs)
        if not cut:
            return 0.0

        def through() -> None:
            with torch.no_grad():
                self._forward(0, cut)

        times = len({since for of, since in self._plan.epochs if of})
        work = self._counted(("prefix", cut), through)
        return times * self._texts / self._batch_size * work.seconds(speed)

    def step(self, epoch: int) -> Work:
        """A batch forward and backward behind the cut, and an optimiser step."""
        trained = self._freezing.by_epoch[epoch]
        cut = self._plan.epochs[epoch].cut

        def step() -> None:
            self._freezing.apply(self._outline, trained)
            logits = self._outline.out_head(self._forward(cut, len(self._chain)))
            labels = torch.zeros(self._batch_size, dtype=torch.int64, device="meta")
            F.cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]

        work = self._counted(("step", cut, trained), step)
        sizes = [p.numel() for p in self._outline.parameters() if p.requires_grad]
        return Work((*work.operations, (0.0, 4.0 * OPTIMIZER_PASSES * sum(sizes))))

    def evaluation(self, epoch: int) -> Work:
        """A batch forward behind the cut."""
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
            with _Counter() as counter:
                call()
            self._known[key] = Work(tuple(counter.operations))
        return self._known[key]


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what operations compute and move; a view does neither."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[tuple[float, float]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.is_view:
            return result
        formula = flop_registry.get(func.overloadpacket)
        flops = float(formula(*args, **(kwargs or {}), out_val=result)) if formula else 0.0
        written = _bytes(result)
        # A look-up reads as much as it gives, not the whole table.
        read = written if func.overloadpacket in _LOOK_UPS else _bytes((args, kwargs))
        self.operations.append((flops, read + written))
        return result


_LOOK_UPS = (
    torch.ops.aten.embedding,
    torch.ops.aten.index_select,
    torch.ops.aten.index,
    torch.ops.aten.gather,
)


def _bytes(values: Any) -> float:
    return float(sum(v.nbytes for v in tree_leaves(values) if isinstance(v, Tensor)))
