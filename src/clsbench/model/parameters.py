"""The parameters of a torch module as plain values."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from clsbench.values import ParameterInfo


def describe_parameters(
    module: nn.Module, stage_of: Callable[[str], str]
) -> tuple[ParameterInfo, ...]:
    """List the parameters of ``module`` in its own order, tied ones once.

    ``stage_of`` gives the stage that a parameter name belongs to. A module on the meta device,
    which holds shapes and no data, will do.
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


def _role(owner: nn.Module, name: str, dimensions: int) -> str:
    if isinstance(owner, nn.Embedding):
        return "embedding"
    if "norm" in type(owner).__name__.lower():
        return "norm"
    return "bias" if name == "bias" or dimensions == 1 else "weight"
