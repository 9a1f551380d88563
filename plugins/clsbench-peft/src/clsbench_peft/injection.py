"""Inject a method of peft into the backbone of a classifier, keeping all names."""

from __future__ import annotations

import dataclasses
import difflib
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftConfig, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

import clsbench

if TYPE_CHECKING:
    from clsbench_peft import Peft

DORA = "dora"
"""A name for LoRA with ``use_dora``, which is how peft has it."""


def read_config(component: Peft) -> PeftConfig:
    """The configuration in peft that the component's options describe.

    Raises:
        UsageError: peft has no such method, or the method has no such option.
    """
    if component.config:
        try:
            found: PeftConfig = PeftConfig.from_pretrained(component.config)
        except (OSError, ValueError, TypeError, KeyError) as error:
            file = Path(component.config) / "adapter_config.json"
            raise clsbench.UsageError(f"adapter peft: {file} cannot be used: {error}") from None
        _refuse_unsupported(str(found.peft_type.value).lower(), found)
        return found
    kinds = {
        kind.value.lower(): config
        for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()
        if PEFT_TYPE_TO_TUNER_MAPPING.get(kind) is not None
    }
    kinds[DORA] = kinds["lora"]
    if component.type not in kinds:
        near = difflib.get_close_matches(component.type, kinds, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        listed = ", ".join(sorted(kinds))
        raise clsbench.UsageError(
            f"adapter peft: unknown type {component.type!r}{hint} (types: {listed})"
        )
    options: dict[str, Any] = dict(component.options)
    if component.r is not None:
        options["r"] = component.r
    if component.type == DORA:
        options["use_dora"] = True
    config = kinds[component.type]
    fields = {field.name for field in dataclasses.fields(config)}
    for name in options:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise clsbench.UsageError(
                f"adapter peft: type {component.type!r} has no option {name!r}{hint}"
            )
    try:
        made: PeftConfig = config(**options)
    except (TypeError, ValueError) as error:
        raise clsbench.UsageError(f"adapter peft, type {component.type!r}: {error}") from None
    _refuse_unsupported(component.type, made)
    return made


_IGNORED = {
    "bias": "the freezing strategy decides which biases train",
    "modules_to_save": "the freezing strategy decides which layers train, and the head always does",
    "layers_to_transform": "choose layers by blocks or modules",
    "layers_pattern": "choose layers by blocks or modules",
    "trainable_token_indices": "only linear layers can be adapted",
}
"""Fields of a configuration that would have no effect here, and what to use instead."""


def _refuse_unsupported(name: str, config: PeftConfig) -> None:
    """Refuse methods and fields that cannot work on a backbone of stages.

    Raises:
        UsageError: there is one.
    """
    of_tokens = config.is_prompt_learning or config.is_adaption_prompt
    if of_tokens or hasattr(config, "token_indices"):
        raise clsbench.UsageError(
            f"adapter peft: type {name!r} adds tokens or trains their embeddings, which is not "
            "supported; choose a method that adds parameters to linear layers, such as lora"
        )
    for field, remedy in _IGNORED.items():
        value = getattr(config, field, None)
        if value not in (None, "none", [], ()):
            raise clsbench.UsageError(
                f"adapter peft: type {name!r}: {field} = {value!r} is not supported; {remedy}"
            )


def inject(
    classifier: nn.Module, config: PeftConfig, modules: Sequence[str], blocks: int | None
) -> None:
    """Inject ``config`` into the linear layers of the classifier's backbone, in place.

    ``modules``: the names of the layers, or their ends; by default those in the last ``blocks``.

    Raises:
        UsageError: no layer is chosen, or peft cannot inject the method.
    """
    backbone = classifier.backbone
    assert isinstance(backbone, nn.Module)
    known = {name for name, _ in classifier.named_parameters()}
    config.target_modules = _chosen(backbone, modules or _given(config, backbone), blocks)
    config.inference_mode = False  # as hub configurations often have it
    before = _sums(backbone)
    if getattr(config, "feedforward_modules", "") is None:  # IA3: then every output is scaled
        config.feedforward_modules = []
    try:
        with warnings.catch_warnings():
            # For GPT-2's Conv1D, peft warns that it corrects this field itself.
            warnings.filterwarnings("ignore", "fan_in_fan_out is set to")
            get_peft_model(backbone, config)
    except (ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise clsbench.UsageError(f"adapter peft: {config.peft_type.value}: {error}") from error
    for layer in list(backbone.modules()):
        if isinstance(layer, BaseTunerLayer):
            # The original names too; named_parameters() lists the first of two names.
            layer._parameters.update(layer.get_base_layer()._parameters)
    after = _sums(backbone)
    if changed := [name for name, each in before.items() if after.get(name) != each]:
        raise clsbench.UsageError(
            f"adapter peft: {config.peft_type.value} changes the weights of the backbone "
            f"({changed[0]}), which must stay as they are; choose another init_lora_weights or type"
        )
    frozen = [
        name
        for name, parameter in classifier.named_parameters()
        if name not in known and not parameter.requires_grad
    ]
    if frozen:
        raise clsbench.UsageError(
            f"adapter peft: {config.peft_type.value} adds parameters that must stay frozen "
            f"({frozen[0]}), but new parameters always train; choose another type"
        )


def merge(classifier: nn.Module) -> None:
    """Replace every layer of peft by the original layer, with the method in its weights.

    Raises:
        UsageError: peft cannot merge the method.
    """
    backbone = classifier.get_submodule("backbone")
    for name, layer in list(backbone.named_modules()):
        if not isinstance(layer, BaseTunerLayer):
            continue
        try:
            layer.merge(safe_merge=True)
        except (NotImplementedError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise clsbench.UsageError(
                f"adapter peft: {type(layer).__name__} cannot be merged into the weights "
                f"({error or type(error).__name__}); train with another type, such as lora"
            ) from error
        parent, _, last = name.rpartition(".")
        setattr(backbone.get_submodule(parent), last, layer.get_base_layer())


def facts_of(value: object) -> object:
    """Plain values that identify an object of peft that a layer holds, else ``None``."""
    if isinstance(value, PeftConfig):
        return {name: repr(_ordered(each)) for name, each in value.to_dict().items()}
    if type(value).__module__.startswith("peft.") and not vars(value):
        return {}
    return None


def _ordered(value: object) -> object:
    return sorted(value) if isinstance(value, set | frozenset) else value


def _sums(module: nn.Module) -> dict[str, float]:
    """A checksum of each parameter that has data."""
    return {
        name: float(parameter.detach().sum(dtype=torch.float64))
        for name, parameter in module.named_parameters()
        if not parameter.is_meta
    }


def _given(config: PeftConfig, backbone: nn.Module) -> Sequence[str]:
    """The layers that a configuration file names; text is a regular expression."""
    named = getattr(config, "target_modules", None)
    if named is None or named == "all-linear":
        return []
    if isinstance(named, str):
        pattern = re.compile(named)
        return [name for name in _linear_layers(backbone) if pattern.fullmatch(name)] or [named]
    return sorted(named)


def _linear_layers(backbone: nn.Module) -> list[str]:
    return [
        name
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
    ]


def _chosen(backbone: nn.Module, modules: Sequence[str], blocks: int | None) -> list[str]:
    """The full names of the chosen linear layers.

    Raises:
        UsageError: none is chosen.
    """
    linear = _linear_layers(backbone)
    last_names = sorted({name.rpartition(".")[2] for name in linear})
    for end in modules:
        if not any(_ends(name, end) for name in linear):
            listed = ", ".join(last_names) or "none"
            raise clsbench.UsageError(
                f"adapter peft: no linear layer of the backbone ends with {end!r} (their last "
                f"names: {listed})"
            )
    place, count = _blocks(backbone)
    if blocks is None:
        first = 0
    elif count >= blocks:
        first = count - blocks
    elif count:
        raise clsbench.UsageError(
            f"adapter peft: blocks = {blocks}, but the backbone has {count} blocks"
        )
    else:
        raise clsbench.UsageError("adapter peft: blocks: this backbone has no list of blocks")
    within = [
        name
        for name in linear
        if not count
        or (name.startswith(place) and int(name[len(place) :].partition(".")[0]) >= first)
    ]
    chosen = [
        name
        for name in (within if not modules or blocks is not None else linear)
        if not modules or any(_ends(name, end) for end in modules)
    ]
    if not chosen:
        raise clsbench.UsageError(
            "adapter peft: no linear layer is chosen; the backbone's are "
            f"{', '.join(last_names) or 'none'}"
        )
    return chosen


def _ends(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")


def _blocks(backbone: nn.Module) -> tuple[str, int]:
    """The name of the backbone's list of blocks, with a dot, and their number; 0: it has none."""
    stages = backbone.stages()  # type: ignore[operator]
    count = sum(stage.name.startswith("block.") for stage in stages)
    for name, module in backbone.named_modules():
        if isinstance(module, nn.ModuleList | nn.Sequential) and len(module) == count:
            return f"{name}.", count
    return "", 0
