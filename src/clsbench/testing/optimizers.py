"""The contract of an optimizer: it trains the given parameters at the given learning rates."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from clsbench.components.training_axes import Optimizer
from clsbench.errors import UsageError
from clsbench.testing.promises import check_options, require
from clsbench.testing.tensors import normal

STEPS = 100
LEARNING_RATE = 0.05


def check_optimizer(optimizer: Optimizer, device: str = "cpu") -> None:
    """Check an optimizer on small parameters.

    ``build`` returns a torch optimizer of all given parameters, also on the meta device. Steps
    reduce a quadratic loss, and give the same when repeated. A learning rate of 0, set in a group
    between two steps, stops its parameters. A parameter without a gradient is bitwise unchanged,
    despite weight decay, except with ``full_batch``. It may refuse several groups with a
    ``UsageError``. Its options survive the command line and TOML.

    Raises:
        AssertionError: the contract is broken.
    """
    check_options(optimizer)
    for amount in (optimizer.state_size(), optimizer.memory_passes(), optimizer.evaluations()):
        require(math.isfinite(amount) and amount >= 0, optimizer, f"it states the amount {amount}")
    _build(optimizer, _parameters("meta"), 0.1)
    outcomes = [_train(optimizer, device) for _ in range(2)]
    require(all(map(torch.equal, *outcomes)), optimizer, "two trainings give different parameters")
    if not optimizer.full_batch:  # then, the same parameters train in every epoch
        _check_frozen(optimizer, device)
    _check_groups(optimizer, device)


def _parameters(device: str) -> list[nn.Parameter]:
    """A matrix and a vector."""
    shapes = ((4, 3), (5,))
    if device == "meta":
        return [nn.Parameter(torch.empty(shape, device="meta")) for shape in shapes]
    return [nn.Parameter(normal(*shape).to(device)) for shape in shapes]


def _build(
    optimizer: Optimizer, parameters: list[nn.Parameter], weight_decay: float
) -> torch.optim.Optimizer:
    built = optimizer.build([{"params": parameters, "lr": LEARNING_RATE}], weight_decay)
    require(
        isinstance(built, torch.optim.Optimizer),
        optimizer,
        f"build() returns {type(built).__name__}, expected a torch.optim.Optimizer",
    )
    held = {id(p) for group in built.param_groups for p in group["params"]}
    require(held == {id(p) for p in parameters}, optimizer, "it does not hold the given parameters")
    return built


def _loss(parameters: list[nn.Parameter]) -> Tensor:
    """A quadratic function with its minimum of 0 where every value is 1."""
    values: Any = [((p - 1) ** 2).sum() for p in parameters if p.requires_grad]
    total: Tensor = sum(values)
    return total


def _step(built: torch.optim.Optimizer, parameters: list[nn.Parameter], full: bool) -> None:
    def closure() -> Any:
        built.zero_grad()
        loss = _loss(parameters)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    if full:
        built.step(closure)
    else:
        closure()
        built.step()


def _train(optimizer: Optimizer, device: str) -> list[Tensor]:
    parameters = _parameters(device)
    built = _build(optimizer, parameters, 0.0)
    before = _loss(parameters).item()
    for _ in range(STEPS):
        _step(built, parameters, optimizer.full_batch)
    after = _loss(parameters).item()
    require(
        after < before / 2,
        optimizer,
        f"{STEPS} steps change a quadratic loss from {before:.3g} to {after:.3g}, expected at "
        "most half",
    )
    return [p.detach() for p in parameters]


def _check_frozen(optimizer: Optimizer, device: str) -> None:
    parameters = _parameters(device)
    built = _build(optimizer, parameters, 0.5)
    _step(built, parameters, optimizer.full_batch)
    frozen = parameters[1]
    frozen.requires_grad_(False)
    built.zero_grad()
    before = frozen.detach().clone()
    _step(built, parameters, optimizer.full_batch)
    require(torch.equal(frozen, before), optimizer, "a step changes a parameter without a gradient")


def _check_groups(optimizer: Optimizer, device: str) -> None:
    parameters = _parameters(device)
    groups = [{"params": [p], "lr": LEARNING_RATE} for p in parameters]
    try:
        built = optimizer.build(groups, 0.1)
    except UsageError:
        return
    _step(built, parameters, optimizer.full_batch)
    built.param_groups[1]["lr"] = 0.0
    before = [p.detach().clone() for p in parameters]
    _step(built, parameters, optimizer.full_batch)
    require(
        not torch.equal(parameters[0], before[0]),
        optimizer,
        "a parameter with a gradient and a learning rate is unchanged",
    )
    require(
        torch.equal(parameters[1], before[1]),
        optimizer,
        "a parameter in a group with the learning rate 0 changes",
    )
