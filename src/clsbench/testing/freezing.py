"""The contract of a freezing strategy: valid names, returned deterministically, and their
effect."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import torch
import torch.nn.functional as F

from clsbench.components.axes import FreezingStrategy
from clsbench.components.values import ParameterInfo
from clsbench.errors import ClsbenchError, UsageError
from clsbench.model.freezing import BACKBONE_PREFIX, plan_freezing
from clsbench.testing.miniature import MiniatureBackbone, miniature_batch, miniature_classifier
from clsbench.testing.promises import check_options, require
from clsbench.testing.tensors import seeded

EPOCHS = 6
DEPTHS = (3, 12, 48, 1, 0)
"""Numbers of blocks of the tried backbones. The deepest published GPT-2 has 48."""


def check_freezing_strategy(
    strategy: FreezingStrategy, parameters: Sequence[ParameterInfo] | None = None
) -> None:
    """Check a freezing strategy on backbones of several depths, and on ``parameters`` if given.

    It returns names of existing parameters, always the same ones. The names of an epoch are among
    all trainable names. Its options survive the command line and TOML. After a step of AdamW,
    frozen parameters are bitwise unchanged, and the others have changed by finite gradients. It may
    refuse a backbone with a ``UsageError``, but not all of them.

    Raises:
        AssertionError: the contract is broken.
    """
    check_options(strategy)
    backbones = [MiniatureBackbone(blocks=blocks) for blocks in DEPTHS]
    fitting = [
        backbone
        for backbone in backbones
        if _check_names(strategy, backbone.describe(), f"{backbone.blocks} blocks")
    ]
    require(bool(fitting), strategy, f"it refuses backbones of {DEPTHS} blocks, all of them")
    if parameters is not None:
        accepted = _check_names(strategy, parameters, "the parameters given")
        require(accepted, strategy, "it refuses the parameters given")
    for epoch in (0, EPOCHS - 1):
        _check_step(strategy, fitting[0].blocks, epoch)


def _check_names(
    strategy: FreezingStrategy, parameters: Sequence[ParameterInfo], where: str
) -> bool:
    """Check the strategy's results; return whether it accepts this backbone at all."""
    known = {parameter.name for parameter in parameters}
    given = tuple(parameters)
    try:
        ever = _names(strategy, strategy.trainable(given), f"trainable({where})")
    except UsageError:
        return False
    unknown = sorted(ever - known)
    require(not unknown, strategy, f"trainable({where}) names unknown parameters: {unknown[:3]}")
    by_epoch = []
    for epoch in range(EPOCHS):
        call = f"trainable_at({where}, epoch={epoch})"
        names = _names(strategy, strategy.trainable_at(given, epoch), call)
        late = sorted(names - ever)
        require(not late, strategy, f"{call} names what trainable() does not: {late[:3]}")
        by_epoch.append(names)
    # A pure function returns the same when called again, in reverse order and with a list.
    for epoch in reversed(range(EPOCHS)):
        call = f"trainable_at({where}, epoch={epoch})"
        again = _names(strategy, strategy.trainable_at(list(given), epoch), call)
        require(
            again == by_epoch[epoch], strategy, f"{call} returns different names when called again"
        )
    again = _names(strategy, strategy.trainable(list(given)), f"trainable({where})")
    require(
        again == ever, strategy, f"trainable({where}) returns different names when called again"
    )
    return True


def _names(strategy: FreezingStrategy, answer: Iterable[str], call: str) -> frozenset[str]:
    require(not isinstance(answer, str), strategy, f"{call} returns text, expected names")
    try:
        names = list(answer)
    except TypeError:
        raise AssertionError(
            f"{strategy!r}: {call} returns {type(answer).__name__}, expected parameter names"
        ) from None
    strange = [name for name in names if not isinstance(name, str)]
    require(not strange, strategy, f"{call} returns {strange[:1]}, expected names of parameters")
    return frozenset(names)


def _check_step(strategy: FreezingStrategy, blocks: int, epoch: int) -> None:
    """One optimizer step of a miniature classifier, frozen the way a run freezes it."""
    classifier = seeded(partial(miniature_classifier, blocks))
    parameters = MiniatureBackbone(blocks=blocks).describe()
    try:
        plan = plan_freezing(strategy, parameters, EPOCHS, repr(strategy))
    except ClsbenchError as error:
        raise AssertionError(f"{strategy!r}: {error}") from error
    trainable = plan.by_epoch[epoch]
    plan.apply(classifier, trainable)
    before = {name: p.detach().clone() for name, p in classifier.named_parameters()}
    optimizer = torch.optim.AdamW(
        [p for p in classifier.parameters() if p.requires_grad], lr=0.01, weight_decay=0.1
    )
    input_ids, lengths, labels = miniature_batch()
    F.cross_entropy(classifier(input_ids, lengths), labels).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    for name, parameter in classifier.named_parameters():
        own = name.removeprefix(BACKBONE_PREFIX)
        if own != name and own not in trainable:
            require(parameter.grad is None, strategy, f"{own} is frozen and has a gradient")
            require(
                torch.equal(parameter, before[name]),
                strategy,
                f"{own} is frozen and changed in a step of epoch {epoch}",
            )
            continue
        require(parameter.grad is not None, strategy, f"{own} trains and has no gradient")
        assert parameter.grad is not None
        require(
            bool(parameter.grad.isfinite().all()), strategy, f"the gradient of {own} is not finite"
        )
        require(
            not torch.equal(parameter, before[name]),
            strategy,
            f"{own} trains and did not change in a step of epoch {epoch}",
        )
