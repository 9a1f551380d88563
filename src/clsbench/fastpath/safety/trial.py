"""The trial: compare the fast path with the plain path on a few texts before a run uses it.

Only running a component shows whether it keeps its contract, such as hooks that accept any width.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
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
from clsbench.model.outputs import mean_loss
from clsbench.system.device_errors import device_error, first_line, is_out_of_memory


class _Tolerance(NamedTuple):
    """Allowed differences: of logits relative to the largest logit; of a parameter's gradients
    relative to their largest, plus ``rounding`` relative to the largest of all parameters."""

    logits: float
    gradients: float
    rounding: float


_TOLERANCES = {
    "fp64": _Tolerance(1e-9, 1e-7, 1e-12),
    "fp32": _Tolerance(1e-4, 3e-3, 1e-6),
    "bf16": _Tolerance(1e-1, 1.0, 1e-1),
}
"""Larger than the effect of reordered additions in GPT-2's larger sizes."""

_FROM_REST = 0.02
"""Perturbation of untrained parameters: standard deviation for zeros, relative size otherwise."""

_CHANGES = "changes state or draws random numbers"
_MOST_CHARACTERS = 200
_LARGE_BYTES = 16 * 2**20


class _Outcome(NamedTuple):
    training: Tensor
    evaluation: Tensor
    gradients: Mapping[str, Tensor]


class Problem(NamedTuple):
    """Why the fast path is not used: the paths differ, or could not be compared.

    ``fails``: the fast path raised, so fewer shortcuts may work.
    """

    text: str
    fails: bool = False


class _UnforeseenError(Exception):
    """A component shows behaviour that the plan did not find; the message describes it."""


def check_equivalence(forward: Forward, freezing: FreezingPlan, batch_size: int) -> Problem | None:
    """Compare the fast path of ``forward`` with the plain path; the problem, or ``None``.

    Both paths process the shortest and the longest texts: forward and backward in training mode,
    and in evaluation mode, once for each set of trained and kept stages in the run. Texts that
    share a batch on one path are separate on the other; without padding, one batch is narrower than
    the padded length. The paths use copies of the classifier. The classifier and the random
    generators are unchanged afterwards.

    Raises:
        ClsbenchError: the classifier itself was changed.
        RuntimeError: the device fails.
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
    # Rounding to bf16 hides most differences, so fp32 is tried as well.
    precisions = ("fp32", "bf16") if forward.precision == "bf16" else (forward.precision,)
    problem: Problem | None = None
    for epoch in epochs.values():
        problem = _check_epoch(trial, epoch, precisions)
        large = sum(buffer.nbytes for buffer in forward.classifier.buffers()) > _LARGE_BYTES
        if large or problem is not None:
            gc.collect()  # copies and their tensors are in reference cycles
        if problem is not None:
            break
    after = checksums(forward.classifier)
    if changed := [name for name in before if before[name] != after[name]]:
        raise ClsbenchError(
            f"{changed[0]} was changed while a copy of the classifier was tried: a component "
            "writes to its memory without torch operations, or in another thread; only the "
            "optimizer may change weights"
        )
    if not Snapshot(forward.classifier).is_as(state, frozenset()):
        raise ClsbenchError(
            "a buffer or an attribute of the classifier was changed while a copy of it was tried: "
            "a hook or function refers to a module of the original; use the module that is passed "
            "to the hook, or set stateful = True in the component"
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
            "the trial needs a copy of the classifier, but a copy shares "
            f"{reached[0][0]} with the original"
        )
    return problem


def _check_epoch(trial: _Trial, epoch: int, precisions: Sequence[str]) -> Problem | None:
    narrowed = trial.narrows  # trial.probe() uses narrow batches, the plain path does not
    try:
        trial.probe(epoch)
        narrowed = False
        expected = trial.plain(epoch, precisions)
    except (_UnforeseenError, WritesWeightsError) as error:
        return _unforeseen(error)
    except Exception as error:
        text = f"the trial could not be run: {_one_line(error)}"
        return _out_of_memory(error) or Problem(text, fails=narrowed)
    for precision in precisions:
        try:
            found = trial.run(epoch, precision, fast=True)
        except WritesWeightsError as error:
            return _unforeseen(error)
        except Exception as error:
            text = f"the trial of the fast path failed: {_one_line(error)}"
            return _out_of_memory(error) or Problem(text, fails=True)
        if difference := _difference(expected[precision], found, _TOLERANCES[precision]):
            return Problem(f"fast path and plain path differ in the trial: {difference}")
    return None


def _out_of_memory(error: Exception) -> Problem | None:
    """The problem if memory is used up, which says nothing about the fast path.

    Raises:
        Exception: ``error``, if it is that of a failing device.
    """
    if (cause := device_error(error)) is None:
        return None
    if not is_out_of_memory(cause):
        raise error
    return Problem(f"the trial ran out of memory, so nothing was compared: {first_line(cause)}")


def _one_line(error: Exception) -> str:
    """The first line of an error; those of torch may contain tables."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:_MOST_CHARACTERS]}"


def _unforeseen(error: Exception) -> Problem:
    if isinstance(error, WritesWeightsError):
        return Problem(f"the forward pass writes to the parameter {error}")
    return Problem(f"the trial found behaviour that the plan did not: {error}")


class _Trial:
    """Runs training steps and evaluations of copies, as in an epoch of a run."""

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
        prefix_tokens = 1  # one text per batch
        if self._plan.unpadded:
            short = _others_first(texts, order[:-1])
            chosen += short
            self._batches += [[2, 3]] if batch_size > 1 else [[3]]
            # The longest text alone, and the others joined.
            prefix_tokens = int(texts.lengths[short].clamp(min=1).sum())
        self._shortcuts = forward.shortcuts._replace(
            room=room, key=_no_key, prefix_tokens=prefix_tokens
        )
        self._rows = {
            "train": texts.take(chosen),
            "test": texts.take([order[-1], order[0], order[-1]]),
        }
        self._few = texts.take(order[: min(2, batch_size)])
        self._moves = True

    def probe(self, epoch: int) -> None:
        """Check that stages show no behaviour that the plan, made on the meta device, missed.

        Raises:
            _UnforeseenError: a stage does.
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
            raise _UnforeseenError(f"the classifier changes its state, and {plan.uncached}")
        cut = plan.epochs[epoch].cut
        if probe.same < cut:
            raise _UnforeseenError(f"{plan.stages[probe.same]} {_CHANGES}")
        shortened = plan.single is not None or plan.unpadded
        if probe.first_drawing < len(plan.stages) and shortened:
            raise _UnforeseenError(f"{plan.stages[probe.first_drawing]} {_CHANGES}")
        if plan.joins and not behaviour.joins:
            raise _UnforeseenError(f"a stage {_CHANGES} in evaluation")

    def plain(self, epoch: int, precisions: Sequence[str]) -> dict[str, _Outcome]:
        """The outcome of the plain path in each precision, with perturbed parameters if possible.

        Raises:
            Exception: as :meth:`run`, or an exception of a component.
        """
        if self._moves:
            try:
                outcomes = {each: self.run(epoch, each, fast=False) for each in precisions}
            except (_UnforeseenError, WritesWeightsError):
                raise
            except Exception as error:  # a component may not support perturbed parameters
                if device_error(error) is not None:
                    raise
                outcomes = {}
            if outcomes and not any(each.training.isnan().any() for each in outcomes.values()):
                return outcomes
            self._moves = False
        return {each: self.run(epoch, each, fast=False) for each in precisions}

    def run(self, epoch: int, precision: str, fast: bool) -> _Outcome:
        """Run a training step and an evaluation of a copy, in the order of a run.

        Raises:
            _UnforeseenError: the backward pass has side effects.
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
                loss = mean_loss(logits, self._rows["train"].labels[order].to(device))
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
    """Perturb trained parameters of a copy that contain zeros or are constant, because factors of
    zero would hide differences."""
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
    """Run the backward pass and check that it has no side effects."""
    before, drawn = Snapshot(classifier), _generators(loss.device)
    with Operations(weights_of(classifier), made) as operations:
        try:
            loss.backward()  # type: ignore[no-untyped-call]
        except WritesWeightsError as error:
            raise _UnforeseenError(f"the backward pass writes to {error}") from None
    if drawn != _generators(loss.device):
        raise _UnforeseenError("the backward pass draws random numbers")
    unchanged = Snapshot(classifier).is_as(before, operations.reads)
    if operations.writes or not unchanged:
        raise _UnforeseenError("the backward pass changes state")


def _generators(device: torch.device) -> list[bytes]:
    """The states of torch's random generators."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return [state.numpy().tobytes() for state in states]


def _difference(expected: _Outcome, found: _Outcome, tolerance: _Tolerance) -> str | None:
    for mode in ("training", "evaluation"):
        one, other = getattr(expected, mode), getattr(found, mode)
        difference = _distance(one, other) / (_size(one) or 1.0)
        # Written this way so that NaN counts as a difference.
        if not difference <= tolerance.logits:
            return f"logits in {mode} differ by {difference:.2g} of the largest"
    for name in expected.gradients.keys() ^ found.gradients.keys():
        path = "plain" if name in expected.gradients else "fast"
        return f"{name} has a gradient on the {path} path only"
    largest = max(map(_size, expected.gradients.values()), default=0.0)
    for name, one in expected.gradients.items():
        difference, own = _distance(one, found.gradients[name]), _size(one)
        if not difference <= tolerance.gradients * own + tolerance.rounding * largest:
            relative = difference / (own or 1.0)
            return f"gradients of {name} differ by {relative:.2g} of their largest"
    return None


def _others_first(rows: TokenRows, order: Sequence[int]) -> list[int]:
    """The first text of ``order``, and the next different one if there is one."""
    first = order[0]
    ids = rows.input_ids
    others = (text for text in order if not torch.equal(ids[text], ids[first]))
    return [first, next(others, order[min(1, len(order) - 1)])]


def _size(tensor: Tensor) -> float:
    """The largest finite absolute value."""
    if not tensor.numel():
        return 0.0
    largest = tensor.abs().max().item()
    if math.isfinite(largest):
        return largest
    finite = tensor[tensor.isfinite()]
    return finite.abs().max().item() if finite.numel() else 0.0


def _distance(one: Tensor, other: Tensor) -> float:
    """The largest absolute difference; equal infinities do not differ."""
    if not one.numel():
        return 0.0
    largest = (one - other).abs().max().item()
    if math.isfinite(largest):
        return largest
    differing = one != other
    return (one - other)[differing].abs().max().item() if differing.any() else 0.0


def _no_key(cut: int) -> None:
    """Activations of a trial are not cached."""
