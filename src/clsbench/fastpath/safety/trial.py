"""The trial: the fast path against the plain path on a few texts, before a run relies on it.

Whether a component keeps to its contract (such as hooks that accept any width) shows in a run only.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from clsbench.data.tokens import TokenRows
from clsbench.errors import ClsbenchError
from clsbench.fastpath.chain import Inputs
from clsbench.fastpath.fast_forward import FastForward
from clsbench.fastpath.forward import Forward, PlainForward
from clsbench.fastpath.kept_rows import Room
from clsbench.fastpath.plan import FastPlan
from clsbench.fastpath.safety.copies import checksums, copy_of, same_draws
from clsbench.fastpath.safety.operations import Made, Operations, WritesWeightsError, weights_of
from clsbench.fastpath.safety.probe import behaviour_of, probe_stages
from clsbench.fastpath.safety.snapshot import Snapshot
from clsbench.model.classifier import Classifier
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

_FROM_REST = 0.02
"""Perturbation of untrained parameters: standard deviation for zeros, relative size otherwise."""

_MOST_CHARACTERS = 200
_LARGE_BYTES = 16 * 2**20


class _Outcome(NamedTuple):
    training: Tensor
    evaluation: Tensor
    gradients: Mapping[str, Tensor]


class Problem(NamedTuple):
    """Why the fast path cannot be relied on; ``fails``: it raises, so that a part of it may do."""

    text: str
    fails: bool = False


class _UnforeseenError(Exception):
    """A component does what the plan does not know of; the text says what."""


def what_differs(forward: Forward, freezing: FreezingPlan, batch_size: int) -> Problem | None:
    """Why the fast path of ``forward`` cannot be relied on, having been tried; ``None``: it can.

    The shortest texts and the longest are sent through it and through the plain path, in training
    forward and backward, and in evaluation, as in each epoch that differs in what is trained or
    kept. What the fast path joins comes apart on the plain one, and the other way round; where
    padding is left out, one batch is narrower than the padded length. Both paths use copies of the
    classifier, which has the same state afterwards, and so have the random generators.

    Raises:
        ClsbenchError: the classifier itself was changed.
    """
    if not isinstance(forward, FastForward):
        return None
    plan = forward.shortcuts.plan
    before, state = checksums(forward.classifier), Snapshot(forward.classifier)
    had_gradients = {n for n, p in forward.classifier.named_parameters() if p.grad is not None}
    trial = _Trial(forward, freezing, batch_size)
    epochs: dict[object, int] = {}
    for epoch, trained in enumerate(freezing.by_epoch):
        epochs.setdefault((trained, plan.epochs[epoch].cut), epoch)
    # Rounding to bf16 hides almost everything else.
    precisions = ("fp32", "bf16") if forward.precision == "bf16" else (forward.precision,)
    problem: Problem | None = None
    for epoch in epochs.values():
        problem = _what_differs_in(trial, epoch, precisions)
        if sum(buffer.nbytes for buffer in forward.classifier.buffers()) > _LARGE_BYTES:
            gc.collect()  # copies are in reference cycles, with their buffers
        if problem is not None:
            break
    after = checksums(forward.classifier)
    if changed := [name for name in before if before[name] != after[name]]:
        raise ClsbenchError(
            f"{changed[0]} was changed while a few texts were sent through a copy of the "
            "classifier: something writes to its memory past torch's operations, or in another "
            "thread; only the optimizer may change weights"
        )
    if not Snapshot(forward.classifier).is_as(state, frozenset()):
        raise ClsbenchError(
            "a buffer or an attribute of the classifier was changed while a few texts were sent "
            "through a copy of it: a hook or function refers to a module of the original; use the "
            "module that the hook is called with, or set stateful = True in the component"
        )
    reached = [
        (name, parameter)
        for name, parameter in forward.classifier.named_parameters()
        if parameter.grad is not None and name not in had_gradients
    ]
    for _, parameter in reached:
        parameter.grad = None
    if reached:
        return Problem(
            f"it could not be tried on a copy, which shares {reached[0][0]} with the classifier"
        )
    return problem


def _what_differs_in(trial: _Trial, epoch: int, precisions: Sequence[str]) -> Problem | None:
    narrowed = trial.narrows  # for a look at the stages, not on the plain path
    try:
        trial.look(epoch)
        narrowed = False
        expected = trial.plain(epoch, precisions)
    except (_UnforeseenError, WritesWeightsError) as error:
        return _unforeseen(error)
    except Exception as error:
        return Problem(f"it could not be tried on a few texts: {_one_line(error)}", fails=narrowed)
    for precision in precisions:
        try:
            found = trial.run(epoch, precision, fast=True)
        except WritesWeightsError as error:
            return _unforeseen(error)
        except Exception as error:
            return Problem(f"tried on a few texts, it fails: {_one_line(error)}", fails=True)
        if difference := _difference(expected[precision], found, _TOLERANCES[precision]):
            return Problem(
                "tried on a few texts, the fast path gave something else than the plain one: "
                f"{difference}"
            )
    return None


def _one_line(error: Exception) -> str:
    """An error in one line: torch's may hold tables."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:_MOST_CHARACTERS]}"


def _unforeseen(error: Exception) -> Problem:
    if isinstance(error, WritesWeightsError):
        return Problem(f"{error} is written to while the classifier computes")
    return Problem(f"tried on a few texts, {error}, which could not be foreseen")


class _Trial:
    """Steps of training and evaluations of copies, as in some epoch of a run."""

    def __init__(self, forward: FastForward, freezing: FreezingPlan, batch_size: int) -> None:
        self._forward = forward
        self._freezing = freezing
        self._plan: FastPlan = forward.shortcuts.plan
        self.narrows = self._plan.unpadded
        room = Room(memory_bytes=2**62, disk=None)
        texts = forward.splits["train"]
        order = texts.lengths.argsort(stable=True).tolist()
        chosen = [order[0], order[-1]]
        self._batches = [[0, 1]] if batch_size > 1 else [[0], [1]]
        prefix_tokens = 1  # each by itself
        if self._plan.unpadded:
            short = _others_first(texts, order[:-1])
            chosen += short
            self._batches += [[2, 3]] if batch_size > 1 else [[3]]
            # The longest text by itself, and the others joined.
            prefix_tokens = int(texts.lengths[short].clamp(min=1).sum())
        self._shortcuts = forward.shortcuts._replace(
            room=room, key=_no_key, prefix_tokens=prefix_tokens
        )
        self._rows = {
            "train": _take(texts, chosen),
            "test": _take(texts, [order[-1], order[0], order[-1]]),
        }
        self._few = _take(texts, order[: min(2, batch_size)])
        self._moves = True

    def look(self, epoch: int) -> None:
        """See that no stage does what the plan, made on the meta device, does not know of.

        Raises:
            _UnforeseenError: one does.
            WritesWeightsError: a parameter would have been written to.
        """
        plan = self._plan
        with same_draws(self._forward.device):
            classifier = copy_of(self._forward.classifier)
            self._freezing.apply(classifier, self._freezing.by_epoch[epoch])
            batch = self._few.batch(range(len(self._few.lengths)))
            width = int(batch.lengths.max().clamp(min=1)) if plan.unpadded else None
            batch = batch.to(self._forward.device)
            inputs = Inputs(batch.input_ids[:, :width], batch.lengths, None, None)
            behaviour = behaviour_of(classifier, inputs, compare=False)
            probe = probe_stages(classifier, inputs, behaviour)
        if plan.uncached is not None and (behaviour.changes or probe.changes):
            raise _UnforeseenError(f"it changes state, and {plan.uncached}")
        cut = plan.epochs[epoch].cut
        if probe.same < cut:
            raise _UnforeseenError(f"{plan.stages[probe.same]} changes something, or draws")
        shortened = plan.single is not None or plan.unpadded
        if probe.first_drawing < len(plan.stages) and shortened:
            name = plan.stages[probe.first_drawing]
            raise _UnforeseenError(f"{name} changes something, or draws")
        if plan.joins and not behaviour.joins:
            raise _UnforeseenError("something is changed or drawn in evaluation")

    def plain(self, epoch: int, precisions: Sequence[str]) -> dict[str, _Outcome]:
        """Of the plain path in each precision, with parameters moved from rest if that can be.

        Raises:
            Exception: as :meth:`run`, and whatever a component raises.
        """
        if self._moves:
            try:
                outcomes = {each: self.run(epoch, each, fast=False) for each in precisions}
            except (_UnforeseenError, WritesWeightsError):
                raise
            except Exception:  # not every component can compute with other numbers
                outcomes = {}
            if outcomes and not any(each.training.isnan().any() for each in outcomes.values()):
                return outcomes
            self._moves = False
        return {each: self.run(epoch, each, fast=False) for each in precisions}

    def run(self, epoch: int, precision: str, fast: bool) -> _Outcome:
        """A step of training and an evaluation of a copy, in the order of a run.

        Raises:
            _UnforeseenError: the backward pass does what it should not.
            WritesWeightsError: a parameter would have been written to.
        """
        device, by_epoch = self._forward.device, self._freezing.by_epoch
        with same_draws(device):
            classifier = copy_of(self._forward.classifier)
            if self._moves:
                _move_from_rest(classifier, self._freezing)
            self._freezing.apply(classifier, by_epoch[0])
            for parameter in classifier.parameters():
                parameter.grad = None
            tried: Forward = (
                FastForward(classifier, self._rows, device, precision, self._shortcuts)
                if fast
                else PlainForward(classifier, self._rows, device, precision)
            )
            made = Made()
            with Operations(weights_of(classifier), made):
                tried.prepare()
                self._freezing.apply(classifier, by_epoch[epoch])
                classifier.train()
                tried.begin_epoch(epoch)
                logits = torch.cat([tried.logits("train", batch) for batch in self._batches])
                logits = logits.float() if logits.dtype == torch.bfloat16 else logits
                order = [text for batch in self._batches for text in batch]
                loss = F.cross_entropy(logits, self._rows["train"].labels[order].to(device))
            if loss.requires_grad:
                _go_back(classifier, loss, made)
            gradients = {
                name: parameter.grad.detach().to_dense().cpu()
                for name, parameter in classifier.named_parameters()
                if parameter.grad is not None
            }
            with Operations(weights_of(classifier)):
                evaluation = [tried.all_logits("test", 1)]
                if self._plan.unpadded:
                    evaluation += [each.cpu() for each in tried.evaluate("test", [[1]])]
            tried.close()
        return _Outcome(logits.detach().cpu().double(), torch.cat(evaluation).double(), gradients)


def _move_from_rest(classifier: Classifier, freezing: FreezingPlan) -> None:
    """Give those parameters of a copy that will be trained, but hold zeros (or one number only)
    as yet, other numbers: what zero multiplies would not be seen."""
    ever = freezing.ever()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in classifier.named_parameters():
        if not (freezing.trains(name, ever) and parameter.numel()):
            continue
        values = parameter.detach()
        zeros = values == 0
        some = bool(zeros.any())
        if not some and not bool((values == values.flatten()[0]).all()):
            continue
        noise = torch.randn(values.shape, generator=generator) * _FROM_REST
        noise = noise.to(values.device, values.dtype)
        parameter.data = torch.where(zeros, noise, values) if some else values * (1 + noise)


def _go_back(classifier: Classifier, loss: Tensor, made: Made) -> None:
    """The backward pass, which is to do nothing else."""
    before, drawn = Snapshot(classifier), _generators(loss.device)
    with Operations(weights_of(classifier), made) as operations:
        try:
            loss.backward()  # type: ignore[no-untyped-call]
        except WritesWeightsError as error:
            raise _UnforeseenError(f"the backward pass writes to {error}") from None
    if drawn != _generators(loss.device):
        raise _UnforeseenError("the backward pass draws at random")
    unchanged = Snapshot(classifier).is_as(before, operations.reads)
    if operations.writes or not unchanged:
        raise _UnforeseenError("the backward pass changes state")


def _generators(device: torch.device) -> list[bytes]:
    """What torch draws next."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return [state.numpy().tobytes() for state in states]


def _difference(expected: _Outcome, found: _Outcome, tolerance: _Tolerance) -> str | None:
    for mode in ("training", "evaluation"):
        one, other = getattr(expected, mode), getattr(found, mode)
        difference = _distance(one, other) / (_size(one) or 1.0)
        # Not the other way round: NaN differs.
        if not difference <= tolerance.logits:
            return f"logits in {mode} differ by {difference:.2g} of the largest"
    for name in expected.gradients.keys() ^ found.gradients.keys():
        path = "plain" if name in expected.gradients else "fast"
        return f"{name} has a gradient on the {path} path alone"
    largest = max(map(_size, expected.gradients.values()), default=0.0)
    for name, one in expected.gradients.items():
        difference, own = _distance(one, found.gradients[name]), _size(one)
        if not difference <= tolerance.gradients * own + tolerance.rounding * largest:
            relative = difference / (own or 1.0)
            return f"gradients of {name} differ by {relative:.2g} of their largest"
    return None


def _others_first(rows: TokenRows, order: Sequence[int]) -> list[int]:
    """The first of ``order``, and the next that is another text, if there is one."""
    first = order[0]
    ids = rows.input_ids
    others = (text for text in order if not torch.equal(ids[text], ids[first]))
    return [first, next(others, order[min(1, len(order) - 1)])]


def _take(rows: TokenRows, texts: Sequence[int]) -> TokenRows:
    index = torch.tensor(texts)
    parts = {name: getattr(rows, name)[index] for name in ("input_ids", "lengths", "labels")}
    return replace(rows, **parts)


def _size(tensor: Tensor) -> float:
    """The largest of the numbers that are finite."""
    if not tensor.numel():
        return 0.0
    largest = tensor.abs().max().item()
    if math.isfinite(largest):
        return largest
    finite = tensor[tensor.isfinite()]
    return finite.abs().max().item() if finite.numel() else 0.0


def _distance(one: Tensor, other: Tensor) -> float:
    """The largest difference; the same infinities are none."""
    if not one.numel():
        return 0.0
    largest = (one - other).abs().max().item()
    if math.isfinite(largest):
        return largest
    differing = one != other
    return (one - other)[differing].abs().max().item() if differing.any() else 0.0


def _no_key(cut: int) -> None:
    """Nothing of a trial is kept."""
