"""The parameters of a torch module as plain values, and modules without weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from clsbench.components.values import ParameterInfo
from clsbench.errors import UsageError


def describe_parameters(
    module: nn.Module, stage_of: Callable[[str], str]
) -> tuple[ParameterInfo, ...]:
    """List the parameters of ``module`` in its own order, tied ones once.

    ``stage_of`` returns the stage of a parameter name. The module may be on the meta device.
    """
    infos = []
    for name, parameter in module.named_parameters():
        owner = module.get_submodule(name.rpartition(".")[0])
        infos.append(
            ParameterInfo(
                name=name,
                stage=stage_of(name),
                role=_role(owner, name.rpartition(".")[2], parameter.ndim),
                shape=tuple(parameter.shape),
                numel=parameter.numel(),
            )
        )
    return tuple(infos)


def refuse_non_finite(module: nn.Module, consequence: str) -> None:
    """Check that every parameter is finite, including those that no text uses.

    Raises:
        UsageError: one is not; the message is ``consequence`` and the parameter's name.
    """
    for name, parameter in module.named_parameters():
        values = parameter.detach()
        # torch does not implement isfinite for 8-bit floats.
        if not values.is_floating_point() or values.element_size() == 1:
            continue
        if values.sum().isfinite():  # ten times faster, but the sum of finite numbers may overflow
            continue
        bad = int((~values.isfinite()).sum())
        if bad:
            raise UsageError(
                f"{consequence}: {bad:,} of the {values.numel():,} values of {name} are not finite"
            )


@contextmanager
def without_weights() -> Iterator[None]:
    """Create modules on the meta device inside the block: they have shapes, and no numbers are
    drawn."""
    with torch.device("meta"), _WithoutInitialisation():
        yield


class _WithoutInitialisation(TorchFunctionMode):
    """Skip initialization on the meta device, which has no effect but takes seconds the first
    time."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == nn.init.__name__:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def _role(owner: nn.Module, name: str, dimensions: int) -> str:
    if isinstance(owner, nn.Embedding):
        return "embedding"
    if "norm" in type(owner).__name__.lower():
        return "norm"
    return "bias" if name == "bias" or dimensions == 1 else "weight"
