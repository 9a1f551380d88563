"""The fast path tried on a few texts before it is relied on: plugins are free, and plans can err.

What a plan derives holds for components that keep to their contract. An adapter's hook that expects
(B, T, H), or a module that depends on what else is in the batch, can be seen by running it only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from clsbench.data.tokens import TokenRows
from clsbench.fastpath.forward import Forward
from clsbench.fastpath.prefix import Room
from clsbench.model.freezing import FreezingPlan

_TEXTS = 3
_TOLERANCES = {"fp64": 1e-8, "fp32": 1e-3, "bf16": 1e-1}
"""How far logits and gradients may differ, as a fraction of the largest: beyond any rounding."""


class _Outcome(NamedTuple):
    logits: Tensor
    gradients: Mapping[str, Tensor]


def what_differs(forward: Forward, freezing: FreezingPlan, batch_size: int) -> str | None:
    """What the fast path of ``forward`` gives otherwise than the plain one; ``None``: nothing.

    A few texts, from the shortest to the longest, are sent through both in training mode, forward
    and backward, as in the first epoch, ``batch_size`` at most at a time. Classifier, buffers and
    generators are left as they were.
    """
    shortcuts = forward.shortcuts
    if shortcuts is None:
        return None
    rows = {"train": _few(forward.splits["train"])}
    room = Room(memory_bytes=2**62, disk=None)
    fast = Forward(
        forward.classifier,
        rows,
        forward.device,
        forward.precision,
        shortcuts._replace(room=room, key=_no_key),
    )
    plain = Forward(forward.classifier, rows, forward.device, forward.precision)
    expected = _train_once(plain, freezing, batch_size)
    if not expected.logits.isfinite().all():
        return None  # training will say so
    try:
        found = _train_once(fast, freezing, batch_size)
    except Exception as error:
        return f"it fails: {type(error).__name__}: {error}"
    tolerance = _TOLERANCES[forward.precision]
    # Not the other way round: what is no number differs.
    if not (difference := _difference(expected.logits, found.logits)) <= tolerance:
        return f"logits differ by {difference:.2g} of the largest"
    largest = max((_size(gradient) for gradient in expected.gradients.values()), default=0.0)
    for name in expected.gradients.keys() | found.gradients.keys():
        nothing = torch.zeros(())
        one, other = (each.gradients.get(name, nothing) for each in (expected, found))
        difference = _size(one - other) / largest if largest else _size(one - other)
        if not difference <= tolerance:
            return f"gradients of {name} differ by {difference:.2g} of the largest"
    return None


def _train_once(forward: Forward, freezing: FreezingPlan, batch_size: int) -> _Outcome:
    """One forward and one backward pass, and everything back as it was."""
    classifier = forward.classifier
    buffers = {name: buffer.clone() for name, buffer in classifier.named_buffers()}
    required = {p: p.requires_grad for p in classifier.parameters()}
    training = classifier.training
    devices = [forward.device] if forward.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            freezing.apply(classifier, freezing.by_epoch[0])
            classifier.train()
            forward.prepare()
            forward.begin_epoch(0)
            rows = forward.splits["train"]
            texts = range(len(rows))
            batches = [texts[at : at + batch_size] for at in range(0, len(texts), batch_size)]
            logits = torch.cat([forward.logits("train", batch) for batch in batches])
            logits = logits.float() if logits.dtype == torch.bfloat16 else logits
            loss = F.cross_entropy(logits, rows.labels.to(forward.device))
            loss.backward()  # type: ignore[no-untyped-call]
            gradients = {
                name: parameter.grad.detach().cpu().double()
                for name, parameter in classifier.named_parameters()
                if parameter.grad is not None
            }
            return _Outcome(logits.detach().cpu().double(), gradients)
    finally:
        classifier.train(training)
        for parameter, was_required in required.items():
            parameter.grad = None
            parameter.requires_grad_(was_required)
        for name, buffer in classifier.named_buffers():
            buffer.copy_(buffers[name])


def _few(rows: TokenRows) -> TokenRows:
    """The shortest text, the longest, and one between."""
    order = rows.lengths.argsort(stable=True)
    places = torch.linspace(0, len(order) - 1, min(_TEXTS, len(order))).round().long()
    index = order[places]
    parts = {name: getattr(rows, name)[index] for name in ("input_ids", "lengths", "labels")}
    return replace(rows, **parts)


def _difference(expected: Tensor, found: Tensor) -> float:
    largest = _size(expected)
    difference = _size(expected - found)
    return difference / largest if largest else difference


def _size(tensor: Tensor) -> float:
    return tensor.abs().max().item() if tensor.numel() else 0.0


def _no_key(cut: int) -> None:
    """Nothing of a trial is kept."""
