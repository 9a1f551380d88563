"""The phases of an experiment as workloads, from tokenization to evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import msgspec
import torch
from torch import Tensor

from clsbench.bench.stopwatch import synchronise
from clsbench.bench.subject import Subject
from clsbench.data.tokens import TokenRows
from clsbench.errors import UsageError, closest_match_hint
from clsbench.fastpath.embedding_gradients import rows_of_gradients
from clsbench.fastpath.fast_forward import FastForward, Shortcuts
from clsbench.fastpath.forward import Forward, PlainForward, autocast, evaluating
from clsbench.fastpath.kept_rows import Room
from clsbench.model.outputs import mean_loss
from clsbench.training.batches import BatchTraining
from clsbench.training.evaluate import mean_batch_loss
from clsbench.training.log import TrainingLog
from clsbench.training.recipe import build_optimizer
from clsbench.training.schedule import TrainBatch

PHASES = {
    "tokenize": "text to token ids, on the CPU",
    "forward": "logits in evaluation mode, without shortcuts",
    "forward+backward": "loss and gradients in training mode, without shortcuts",
    "optimizer step": "the optimizer on existing gradients",
    "train step": "all of these on one batch, with a row-sparse embedding gradient",
    "prefix": "the frozen prefix of distinct texts, to be cached",
    "cached train step": "a train step on the fast path with cached prefix",
    "evaluation": "the loss on the fast path with cached prefix",
}
"""The phases of an experiment, in the order of a run."""


@dataclass(kw_only=True)
class PhaseWorkload:
    """A phase of an experiment on one batch; ``call`` returns when the device has finished."""

    name: str
    phase: str
    device: torch.device
    examples: int
    real_tokens: int
    padded_tokens: int
    moved_bytes: int = 0
    prepare: Callable[[ExitStack], object]
    do: Callable[[], object]
    _until_teardown: ExitStack = field(default_factory=ExitStack)

    def setup(self) -> None:
        """Prepare the classifier."""
        self.prepare(self._until_teardown)
        synchronise(self.device)

    def call(self) -> None:
        """Run the phase once."""
        self.do()
        synchronise(self.device)

    def teardown(self) -> None:
        """Restore the classifier for the next workload."""
        self._until_teardown.close()


class NotApplicable(msgspec.Struct, frozen=True):
    """A phase that this experiment does not have, and the reason."""

    phase: str
    reason: str


def chosen_phases(names: Sequence[str]) -> tuple[str, ...]:
    """The phases with these names, in their order; all phases without names.

    Raises:
        UsageError: a phase does not exist.
    """
    for name in names:
        if name not in PHASES:
            hint = closest_match_hint(name, list(PHASES))
            raise UsageError(f"unknown phase {name!r}{hint}; available phases: {', '.join(PHASES)}")
    return tuple(phase for phase in PHASES if not names or phase in names)


def phase_workloads(
    subject: Subject, phases: Sequence[str]
) -> Iterator[PhaseWorkload | NotApplicable]:
    """Yield the workload of each phase; measure it before requesting the next."""
    makers = {
        "tokenize": _tokenize,
        "forward": _forward,
        "forward+backward": _backward,
        "optimizer step": _optimizer_step,
        "train step": _train_step,
        "prefix": _prefix,
        "cached train step": _cached_train_step,
        "evaluation": _evaluation,
    }
    for phase in phases:
        yield makers[phase](subject)


# --- the phases -----------------------------------------------------------------------------------


def _tokenize(subject: Subject) -> PhaseWorkload:
    def encode() -> None:
        for text in subject.texts:
            subject.encoder.encode(text)

    tokens = sum(len(subject.encoder.encode(text).ids) for text in subject.texts)
    return PhaseWorkload(
        name=_name(subject, "tokenize"),
        phase="tokenize",
        device=torch.device("cpu"),
        examples=len(subject.texts),
        real_tokens=tokens,
        padded_tokens=tokens,
        prepare=_nothing,
        do=encode,
    )


def _forward(subject: Subject) -> PhaseWorkload:
    plain = _plain(subject)

    def forward() -> None:
        with evaluating(subject.classifier):
            plain.logits("train", _whole(subject.rows))

    return _workload(subject, "forward", _nothing, forward)


def _backward(subject: Subject) -> PhaseWorkload:
    plain = _plain(subject)

    def backward() -> None:
        _loss(subject, plain).backward()  # type: ignore[no-untyped-call]
        for parameter in subject.classifier.parameters():
            parameter.grad = None

    return _workload(subject, "forward+backward", lambda stack: _training(subject), backward)


def _optimizer_step(subject: Subject) -> PhaseWorkload | NotApplicable:
    if reason := _full_batch(subject):
        return NotApplicable("optimizer step", reason)
    plain = _plain(subject)
    trained = _trained(subject)
    optimizer = build_optimizer(subject.recipe, subject.classifier)

    def prepare(stack: ExitStack) -> None:
        _training(subject)
        _keep_weights(subject, stack)
        _loss(subject, plain).backward()  # type: ignore[no-untyped-call]

    workload = _workload(subject, "optimizer step", prepare, optimizer.step)
    passes = subject.recipe.optimizer.memory_passes()
    workload.moved_bytes = round(passes * sum(parameter.nbytes for parameter in trained))
    return workload


def _train_step(subject: Subject) -> PhaseWorkload | NotApplicable:
    if reason := _full_batch(subject):
        return NotApplicable("train step", reason)
    return _training_workload(subject, "train step", _plain(subject))


def _prefix(subject: Subject) -> PhaseWorkload | NotApplicable:
    if not subject.plan.epochs[0].cut:
        (shortcut,) = (s for s in subject.plan.shortcuts if s.name == "prefix")
        return NotApplicable("prefix", shortcut.detail)

    def compute() -> None:
        forward = _fast(subject, subject.prefix_rows)
        forward.prepare()
        forward.close()

    return _workload(
        subject, "prefix", lambda stack: _training(subject), compute, rows=subject.prefix_rows
    )


def _cached_train_step(subject: Subject) -> PhaseWorkload | NotApplicable:
    if reason := _full_batch(subject):
        return NotApplicable("cached train step", reason)
    if not any(shortcut.taken for shortcut in subject.plan.shortcuts):
        reasons = "; ".join(f"{s.name}: {s.detail}" for s in subject.plan.shortcuts)
        return NotApplicable("cached train step", f"all shortcuts are disabled ({reasons})")
    return _training_workload(subject, "cached train step", _fast(subject, subject.rows))


def _evaluation(subject: Subject) -> PhaseWorkload:
    fast = _fast(subject, subject.rows)

    def evaluate() -> None:
        mean_batch_loss(fast, "train", [_whole(subject.rows)])

    def prepare(stack: ExitStack) -> None:
        _training(subject)
        fast.prepare()

    return _workload(subject, "evaluation", prepare, evaluate)


def _full_batch(subject: Subject) -> str:
    """Why the optimizer has no step on one batch; empty if it has."""
    label = subject.experiment.label("train.optimizer")
    return f"{label} trains on the whole split" if subject.recipe.optimizer.full_batch else ""


# --- what they share ------------------------------------------------------------------------------


def _training_workload(subject: Subject, phase: str, forward: Forward) -> PhaseWorkload:
    steps: list[BatchTraining] = []

    def prepare(stack: ExitStack) -> None:
        _training(subject)
        _keep_weights(subject, stack)
        forward.prepare()
        forward.begin_epoch(0)
        optimizer = build_optimizer(subject.recipe, subject.classifier)
        gradients = stack.enter_context(rows_of_gradients(subject.classifier))
        recipe = subject.recipe._replace(factors=None)  # a phase has any number of steps
        steps[:] = [BatchTraining(forward, optimizer, recipe, TrainingLog(), gradients)]

    batch = TrainBatch(step=0, epoch=0, indices=_whole(subject.rows), update=True)

    def step() -> None:
        steps[0].train(batch)
        steps[0].settle()

    return _workload(subject, phase, prepare, step)


def _workload(
    subject: Subject,
    phase: str,
    prepare: Callable[[ExitStack], object],
    do: Callable[[], object],
    rows: TokenRows | None = None,
) -> PhaseWorkload:
    rows = rows or subject.rows
    real_tokens = int(rows.lengths.sum())
    width = rows.input_ids.shape[1] if rows.padded else max(int(rows.lengths.max()), 1)
    return PhaseWorkload(
        name=_name(subject, phase),
        phase=phase,
        device=subject.device,
        examples=len(rows),
        real_tokens=real_tokens,
        padded_tokens=len(rows) * width,
        prepare=prepare,
        do=do,
    )


def _plain(subject: Subject) -> Forward:
    rows = {"train": subject.rows}
    return PlainForward(subject.classifier, rows, subject.device, subject.precision)


def _fast(subject: Subject, rows: TokenRows) -> Forward:
    room = Room(memory_bytes=2**62, disk=None)  # one batch always fits
    shortcuts = Shortcuts(subject.plan, subject.experiment.pooling, room, lambda cut: None)
    return FastForward(
        subject.classifier, {"train": rows}, subject.device, subject.precision, shortcuts
    )


def _training(subject: Subject) -> None:
    """The trained parameters, as in the first epoch."""
    subject.freezing.apply(subject.classifier, subject.freezing.by_epoch[0])
    subject.classifier.train()
    for parameter in subject.classifier.parameters():
        parameter.grad = None


def _keep_weights(subject: Subject, stack: ExitStack) -> None:
    """Restore weights and buffers that steps change when ``stack`` is closed."""
    tensors = [*_trained(subject), *subject.classifier.buffers()]
    before = [tensor.detach().clone() for tensor in tensors]

    def restore() -> None:
        with torch.no_grad():
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)
                tensor.grad = None

    stack.callback(restore)


def _trained(subject: Subject) -> list[torch.nn.Parameter]:
    subject.freezing.apply(subject.classifier, subject.freezing.by_epoch[0])
    return [p for p in subject.classifier.parameters() if p.requires_grad]


def _loss(subject: Subject, forward: Forward) -> Tensor:
    logits = forward.logits("train", _whole(subject.rows))
    with autocast(subject.device, subject.precision):
        return mean_loss(logits, subject.rows.labels.to(subject.device))


def _whole(rows: TokenRows) -> tuple[int, ...]:
    return tuple(range(len(rows)))


def _name(subject: Subject, phase: str) -> str:
    return f"{subject.experiment.spec.name}: {phase}"


def _nothing(stack: ExitStack) -> None:
    """Nothing to prepare."""
