"""A model of transformers as the stages of a backbone."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.pytorch_utils import Conv1D

import clsbench
from clsbench import Packing, Stage, select_positions
from clsbench_transformers.attention import IMPLEMENTATION, KeysAndValues, Scope, attend
from clsbench_transformers.families import FAMILIES, context_length

AttentionInterface.register(IMPLEMENTATION, attend)

POOLER = "pooler"
"""The child of encoders that makes one vector of a text, for which clsbench has poolings."""

_ROTARY = "rotary_emb"
_ONE_TYPE = "full_attention"
_REPLACEABLE = (nn.Linear, Conv1D)
"""Modules that adapters may replace, since each works on single positions."""

Tables = tuple[Tensor, Tensor]
"""Cosines and sines of rotary positions, (1, T, d) each."""


class Context(NamedTuple):
    """The context of the stages.

    ``input_ids`` (B, T) int64, or (1, N) for packed texts; ``positions`` (1, T) or (1, N) int64:
    those of the tokens in their text. ``rotary`` holds the tables by layer type; it is empty for
    models without rotary positions. ``relative`` (1, T, T) int64: the distances of DeBERTa.
    ``token_types`` (B, T) or (1, N) int64: 0 for the first text of a pair and 1 for the second;
    ``None`` for models with one type.
    """

    input_ids: Tensor
    positions: Tensor
    scope: Scope
    rotary: dict[str, Tables]
    relative: Tensor | None = None
    token_types: Tensor | None = None


class StagedModel(nn.Module):
    """The base model of a supported architecture, without its pooler, as stages.

    The children of ``model`` become children of this module, so that parameters keep their names.
    """

    attends_to_padding = False  # padding is masked, or stands behind the text

    def __init__(self, model: Any, type_separator: int | None = None) -> None:
        """``type_separator``: the token behind which the second text of a pair begins, which has
        another token type. No text contains it, so the ids determine the types."""
        super().__init__()
        config = model.config
        self.type_separator = type_separator
        self.model_type: str = config.model_type
        self.hidden_size: int = config.hidden_size
        self.context_length = context_length(config)
        types = getattr(config, "layer_types", None) or [_ONE_TYPE] * config.num_hidden_layers
        self.layer_types: list[str] = list(types)
        for name, child in model.named_children():
            if name != POOLER:
                self.add_module(name, child)

    def prepare(self, input_ids: Tensor, lengths: Tensor) -> Context:
        """Make the context of the stages. ``input_ids`` (B, T) int64, ``lengths`` (B,) int64."""
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        context = self._context(input_ids, positions, Scope(lengths.clamp(min=1)))
        if context.token_types is None:
            return context
        padding = positions >= lengths[:, None]  # type 0, as the tokenizer gives it
        return context._replace(token_types=context.token_types.masked_fill(padding, 0))

    def _token_types(self, input_ids: Tensor, positions: Tensor) -> Tensor | None:
        """1 behind the first separator of each text, else 0: (B, T) int64 → (B, T) int64."""
        if self.type_separator is None:
            return None
        found = (input_ids == self.type_separator).long()
        before = found.cumsum(dim=1) - found
        starts = torch.arange(input_ids.shape[1], device=input_ids.device)[None] - positions
        return (before > before.gather(1, starts.expand_as(before))).long()

    def _context(self, input_ids: Tensor, positions: Tensor, scope: Scope) -> Context:
        rotary = self._rotary_tables(positions)
        types = self._token_types(input_ids, positions)
        return Context(input_ids, positions, scope, rotary, token_types=types)

    def _rotary_tables(self, positions: Tensor) -> dict[str, Tables]:
        if _ROTARY not in self._modules:
            return {}
        rotary, like = self.get_submodule(_ROTARY), next(self.parameters())
        types = sorted(set(self.layer_types))
        if "layer_type" in inspect.signature(rotary.forward).parameters:
            return {each: rotary(like, positions, each) for each in types}
        return dict.fromkeys(types, rotary(like, positions))

    def stages(self) -> tuple[Stage, ...]:
        """The stages in order, each (hidden (B, T, H), context) → hidden (B, T, H)."""
        family = FAMILIES[self.model_type]
        blocks = self.get_submodule(family.blocks).named_children()
        stages = [Stage("embeddings", self._embed), *(self._stage(*block) for block in blocks)]
        if family.norm is not None:
            stages.append(_positionwise_stage("final_norm", self.get_submodule(family.norm)))
        return tuple(stages)

    def _embed(self, _: Tensor | None, context: Context) -> Tensor:
        hidden = FAMILIES[self.model_type].embed(
            self, context.input_ids, context.positions, context.token_types
        )
        return hidden if context.scope.packing is None else hidden[0]

    def _stage(self, number: str, block: nn.Module) -> Stage:
        raise NotImplementedError


class DebertaModel(StagedModel):
    """A DeBERTa, whose attention to distances is its own: it cannot be packed."""

    def _context(self, input_ids: Tensor, positions: Tensor, scope: Scope) -> Context:
        like = torch.empty(input_ids.shape[1], 1, device=input_ids.device)
        distances = self.get_submodule("encoder").get_rel_pos(like)  # type: ignore[operator]
        return super()._context(input_ids, positions, scope)._replace(relative=distances)

    def _stage(self, number: str, block: nn.Module) -> Stage:
        encoder: Any = self.get_submodule("encoder")

        def run(hidden: Tensor | None, context: Context) -> Tensor:
            places, lengths = context.positions, context.scope.lengths
            out: Tensor = block(
                hidden,
                (places < lengths[:, None])[:, None, None],  # (B, 1, 1, T)
                relative_pos=context.relative,
                rel_embeddings=encoder.get_rel_embedding(),
            )[0]
            return out

        return Stage(f"block.{number}", run)


class AttendingModel(StagedModel):
    """A model whose blocks attend by :func:`attend`, which serves packed texts and one position."""

    def __init__(self, model: Any, type_separator: int | None = None) -> None:
        super().__init__(model, type_separator)
        self.original_classes = {name: type(module) for name, module in self.named_modules()}

    def prepare_packed(self, input_ids: Tensor, packing: Packing) -> Context:
        """Make the context for packed texts, ``input_ids`` (N,) int64."""
        ends = F.pad(packing.starts[1:], (0, 1), value=len(input_ids))
        lengths = ends - packing.starts  # made on the device, without waiting for it
        return self._context(input_ids[None], packing.positions[None], Scope(lengths, packing))

    def _stage(self, number: str, block: nn.Module) -> Stage:
        layer_type = self.layer_types[int(number)]

        def run(hidden: Tensor | None, context: Context) -> Tensor:
            assert hidden is not None
            return _call(block, hidden, context.scope, context.rotary.get(layer_type))

        def at_positions(hidden: Tensor, context: Context, positions: Tensor) -> Tensor:
            scope, tables = context.scope, context.rotary.get(layer_type)
            others = _keys_and_values(block, hidden, scope, tables)
            here = select_positions(hidden, positions, scope.packing)
            if tables is not None:
                places = positions if scope.packing is None else scope.packing.starts + positions
                tables = tables[0][0, places].unsqueeze(1), tables[1][0, places].unsqueeze(1)
            scope = scope._replace(others=others, positions=positions)
            return _call(block, here, scope, tables)

        plain = self._is_plain(f"{FAMILIES[self.model_type].blocks}.{number}", block)
        return Stage(f"block.{number}", run, at_positions=at_positions if plain else None)

    def _is_plain(self, path: str, block: nn.Module) -> bool:
        """Whether an adapter has left the block as it was, except for its linear layers."""
        modules = dict(block.named_modules(prefix=path))
        return not any(map(_is_hooked, modules.values())) and all(
            type(modules.get(name)) is kind or issubclass(kind, _REPLACEABLE)
            for name, kind in self.original_classes.items()
            if name == path or name.startswith(f"{path}.")
        )


def _call(block: nn.Module, hidden: Tensor, scope: Scope, tables: Tables | None) -> Tensor:
    """Run a block: (B, T, H) → (B, T, H), or packed, (N, H) → (N, H)."""
    packed = hidden.dim() == 2
    given = {} if tables is None else {"position_embeddings": tables}
    inputs = hidden[None] if packed else hidden
    out: Tensor = block(inputs, attention_mask=None, scope=scope, **given)
    return out[0] if packed else out


def _keys_and_values(
    block: nn.Module, hidden: Tensor, scope: Scope, tables: Tables | None
) -> KeysAndValues:
    """The keys and values of a block; what comes after them is not computed."""
    try:
        _call(block, hidden, scope._replace(interrupts=True), tables)
    except KeysAndValues as found:
        return KeysAndValues(found.keys, found.values)  # without the frames of the traceback
    raise AssertionError("the block has not called its attention")


def _is_hooked(module: nn.Module) -> bool:
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return any(hooks) or "forward" in vars(module)


def _positionwise_stage(name: str, module: nn.Module) -> Stage:
    def run(hidden: Tensor | None, _: Context) -> Tensor:
        out: Tensor = module(hidden)
        return out

    return Stage(name, run, positionwise=True)


def implementation(config: Any) -> str:
    """The attention with which the model of a config is built."""
    return "eager" if FAMILIES[config.model_type].relative else IMPLEMENTATION


def staged(model: Any, type_separator: int | None = None) -> StagedModel:
    """The stages of a base model, built with the attention of :func:`implementation`."""
    relative = FAMILIES[model.config.model_type].relative
    return (DebertaModel if relative else AttendingModel)(model, type_separator)


def stage_of(model_type: str, parameter: str) -> str:
    """The stage that a parameter of :class:`StagedModel` belongs to.

    What no block holds and is not the final norm, such as embeddings of distances, belongs to the
    embeddings.
    """
    family = FAMILIES[model_type]
    if parameter.startswith(f"{family.blocks}."):
        number = parameter.removeprefix(f"{family.blocks}.").partition(".")[0]
        return f"block.{number}"
    if family.norm is not None and parameter.startswith(f"{family.norm}."):
        return "final_norm"
    return "embeddings"


def describe(module: StagedModel) -> tuple[clsbench.ParameterInfo, ...]:
    """The parameters of the module in their order, with stage and role."""
    return clsbench.describe_parameters(module, lambda name: stage_of(module.model_type, name))
