from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from clsbench.builtin.optimizers import LBFGS, SGD, Adafactor, AdamW
from clsbench.errors import UsageError
from clsbench.schema.convert import convert


def trained(optimizer: torch.optim.Optimizer, layer: nn.Linear) -> torch.Tensor:
    inputs = torch.arange(12.0).reshape(4, 3)
    for _ in range(5):
        layer(inputs).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return layer.weight.detach().clone()


def make_layer() -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(3, 2)


def test_adamw_steps_equal_those_of_torch_bit_for_bit() -> None:
    ours, theirs = make_layer(), make_layer()
    built = AdamW().build([{"params": list(ours.parameters()), "lr": 5e-5}], 0.1)
    reference = torch.optim.AdamW(theirs.parameters(), lr=5e-5, weight_decay=0.1, fused=True)
    assert torch.equal(trained(built, ours), trained(reference, theirs))


def test_adamw_options_are_passed_on() -> None:
    built = AdamW(beta1=0.8, beta2=0.9, eps=1e-6).build(
        [{"params": list(make_layer().parameters()), "lr": 1e-3}], 0.0
    )
    (group,) = built.param_groups
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.8, 0.9), 1e-6, 0.0)


def test_adamw_on_a_device_without_a_fused_step_is_not_fused() -> None:
    layer = nn.Linear(3, 2, device="meta")
    (group,) = AdamW().build([{"params": list(layer.parameters()), "lr": 1.0}], 0.0).param_groups
    assert group["fused"] is False


def test_adamw_takes_seven_memory_passes() -> None:
    assert AdamW().memory_passes() == 7


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.5, True)])
def test_sgd_steps_equal_those_of_torch(momentum: float, nesterov: bool) -> None:
    ours, theirs = make_layer(), make_layer()
    options = {"momentum": momentum, "nesterov": nesterov}
    built = SGD(momentum, nesterov).build([{"params": list(ours.parameters()), "lr": 1e-3}], 0.1)
    reference = torch.optim.SGD(theirs.parameters(), lr=1e-3, weight_decay=0.1, **options)
    torch.testing.assert_close(trained(built, ours), trained(reference, theirs))


def test_sgd_nesterov_without_momentum_is_refused() -> None:
    with pytest.raises(UsageError, match="nesterov=true requires a momentum above 0"):
        convert({"nesterov": "true", "momentum": "0"}, SGD, "optimizer 'sgd'")


def test_sgd_keeps_state_for_momentum_alone() -> None:
    assert (SGD().state_size(), SGD(momentum=0.0).state_size()) == (1, 0)
    assert (SGD().memory_passes(), SGD(momentum=0.0).memory_passes()) == (5, 3)


def test_adafactor_steps_equal_those_of_torch() -> None:
    ours, theirs = make_layer(), make_layer()
    built = Adafactor().build([{"params": list(ours.parameters()), "lr": 1e-2}], 0.1)
    reference = torch.optim.Adafactor(theirs.parameters(), lr=1e-2, weight_decay=0.1)
    assert torch.equal(trained(built, ours), trained(reference, theirs))


def least_squares() -> tuple[nn.Linear, Callable[[], torch.Tensor]]:
    torch.manual_seed(2)
    layer = nn.Linear(3, 1, dtype=torch.float64)
    inputs, wanted = torch.randn(2, 20, 3, dtype=torch.float64).unbind()

    def closure() -> torch.Tensor:
        layer.zero_grad()
        loss = (layer(inputs) - wanted[:, :1]).square().mean()
        loss.backward()
        return loss.detach()

    return layer, closure


@pytest.mark.parametrize("line_search", [True, False])
def test_lbfgs_weight_decay_is_a_penalty_at_whose_minimum_the_gradient_is_0(
    line_search: bool,
) -> None:
    layer, closure = least_squares()
    optimizer = LBFGS(line_search=line_search).build(
        [{"params": list(layer.parameters()), "lr": 1.0}], 0.5
    )
    for _ in range(5):
        optimizer.step(closure)
    closure()
    for parameter in layer.parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(
            parameter.grad + 0.5 * parameter, torch.zeros_like(parameter), rtol=0, atol=1e-4
        )
    assert layer.weight.grad is not None
    assert layer.weight.grad.abs().max() > 1e-3  # the penalty has moved the minimum


def test_lbfgs_without_weight_decay_equals_that_of_torch() -> None:
    (ours, our_closure), (theirs, their_closure) = least_squares(), least_squares()
    built = LBFGS(iterations=3).build([{"params": list(ours.parameters()), "lr": 1.0}], 0.0)
    reference = torch.optim.LBFGS(
        theirs.parameters(), lr=1.0, max_iter=3, history_size=10, line_search_fn="strong_wolfe"
    )
    built.step(our_closure)
    reference.step(their_closure)
    assert torch.equal(ours.weight, theirs.weight)


def test_lbfgs_of_several_groups_is_refused() -> None:
    groups = [{"params": [p], "lr": 1.0} for p in make_layer().parameters()]
    with pytest.raises(UsageError, match=r"a single learning rate; set train\.layer_decay=1"):
        LBFGS().build(groups, 0.0)
