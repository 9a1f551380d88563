"""The fast path tried on a few texts before it is relied on: plugins are free, and plans can err.

What a plan derives holds for components that keep to their contract. An adapter's hook that expects
(B, T, H), or a module that depends on what else is in the batch, can be seen by running it only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from clsbench.data.tokens import TokenRows
from clsbench.fastpath.forward import Forward, Shortcuts
from clsbench.fastpath.isolation import double_of, same_draws
from clsbench.fastpath.prefix import Room
from clsbench.model.freezing import FreezingPlan


class _Tolerance(NamedTuple):
    """How far numbers may differ: logits as a fraction of the largest, a parameter's gradients as
    a fraction of their own largest and, where they are all but zero, of the largest of all."""

    logits: float
    gradients: float
    rounding: float


_TOLERANCES = {
    "fp64": _Tolerance(1e-9, 1e-7, 1e-12),
    "fp32": _Tolerance(1e-4, 3e-3, 1e-6),
    "bf16": _Tolerance(1e-1, 1.0, 1e-1),
}
"""Beyond what another order of the same additions makes of them in GPT-2's larger sizes."""


class _Outcome(NamedTuple):
    training: Tensor
    evaluation: Tensor
    gradients: Mapping[str, Tensor]


def what_differs(forward: Forward, freezing: FreezingPlan, batch_size: int) -> str | None:
    """What the fast path of ``forward`` gives otherwise than the plain one; ``None``: nothing.

    The shortest and the longest text are sent through both, in training forward and backward, and
    in evaluation (one of them twice), as in each epoch that differs in what is trained or kept.
    What the fast path joins comes apart on the plain one, and the other way round. Doubles of the
    classifier are tried: it, its buffers and the generators are left as they were.
    """
    if forward.shortcuts is None:
        return None
    plan = forward.shortcuts.plan
    shortest, longest = _shortest_and_longest(forward.splits["train"])
    rows = {
        "train": _take(forward.splits["train"], [shortest, longest]),
        "test": _take(forward.splits["train"], [longest, shortest, longest]),
    }
    room = Room(memory_bytes=2**62, disk=None)
    alone = forward.shortcuts._replace(room=room, key=_no_key, prefix_tokens=1)
    epochs: dict[object, int] = {}
    for epoch, trained in enumerate(freezing.by_epoch):
        epochs.setdefault((trained, plan.epochs[epoch].cut), epoch)
    for epoch in epochs.values():
        try:
            expected = _try(forward, None, rows, freezing, epoch, batch_size)
        except Exception as error:
            return f"it could not be tried: {type(error).__name__}: {error}"
        if not expected.training.isfinite().all():
            return None  # training will say so
        try:
            found = _try(forward, alone, rows, freezing, epoch, batch_size)
        except Exception as error:
            return f"it fails: {type(error).__name__}: {error}"
        if difference := _difference(expected, found, _TOLERANCES[forward.precision]):
            return difference
    if reached := [n for n, p in forward.classifier.named_parameters() if p.grad is not None]:
        for parameter in forward.classifier.parameters():
            parameter.grad = None
        return f"it could not be tried on a copy: {reached[0]} of the classifier took part"
    return None


def _try(
    forward: Forward,
    shortcuts: Shortcuts | None,
    rows: Mapping[str, TokenRows],
    freezing: FreezingPlan,
    epoch: int,
    batch_size: int,
) -> _Outcome:
    """A step of training and an evaluation of a double, as in ``epoch``."""
    with same_draws(forward.device):
        classifier = double_of(forward.classifier)
        tried = Forward(classifier, rows, forward.device, forward.precision, shortcuts)
        freezing.apply(classifier, freezing.by_epoch[epoch])
        classifier.train()
        for parameter in classifier.parameters():
            parameter.grad = None
        tried.prepare()
        tried.begin_epoch(epoch)
        texts = range(len(rows["train"]))
        batches = [texts[at : at + batch_size] for at in range(0, len(texts), batch_size)]
        logits = torch.cat([tried.logits("train", batch) for batch in batches])
        logits = logits.float() if logits.dtype == torch.bfloat16 else logits
        loss = F.cross_entropy(logits, rows["train"].labels.to(forward.device))
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        gradients = {
            name: parameter.grad.detach().to_dense().cpu().double()
            for name, parameter in classifier.named_parameters()
            if parameter.grad is not None
        }
        evaluation = tried.all_logits("test", 1).double()
        tried.close()
    return _Outcome(logits.detach().cpu().double(), evaluation, gradients)


def _difference(expected: _Outcome, found: _Outcome, tolerance: _Tolerance) -> str | None:
    for mode in ("training", "evaluation"):
        one, other = getattr(expected, mode), getattr(found, mode)
        difference = _size(one - other) / (_size(one) or 1.0)
        # Not the other way round: what is no number differs.
        if not difference <= tolerance.logits:
            return f"logits in {mode} differ by {difference:.2g} of the largest"
    for name in expected.gradients.keys() ^ found.gradients.keys():
        path = "plain" if name in expected.gradients else "fast"
        return f"{name} has a gradient on the {path} path alone"
    largest = max(map(_size, expected.gradients.values()), default=0.0)
    for name, one in expected.gradients.items():
        difference, own = _size(one - found.gradients[name]), _size(one)
        if not difference <= tolerance.gradients * own + tolerance.rounding * largest:
            relative = difference / (own or 1.0)
            return f"gradients of {name} differ by {relative:.2g} of their largest"
    return None


def _shortest_and_longest(rows: TokenRows) -> tuple[int, int]:
    order = rows.lengths.argsort(stable=True).tolist()
    return order[0], order[-1]


def _take(rows: TokenRows, texts: Sequence[int]) -> TokenRows:
    index = torch.tensor(texts)
    parts = {name: getattr(rows, name)[index] for name in ("input_ids", "lengths", "labels")}
    return replace(rows, **parts)


def _size(tensor: Tensor) -> float:
    return tensor.abs().max().item() if tensor.numel() else 0.0


def _no_key(cut: int) -> None:
    """Nothing of a trial is kept."""
