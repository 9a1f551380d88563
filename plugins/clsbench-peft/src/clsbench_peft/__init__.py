"""Adapters of the library peft."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from msgspec import Meta, field

import clsbench
from clsbench import SuiteRow, SuiteSpec

if TYPE_CHECKING:
    from torch import nn


class Peft(clsbench.Adapter, frozen=True):
    """Add the parameters of a method of the library peft to linear layers of the backbone.

    The freezing strategy decides whether the original weights train; with ``head-only``, the head
    and the new parameters do.
    """

    libraries: ClassVar[tuple[str, ...]] = ("peft",)

    type: Annotated[
        str, Meta(description="method: lora, dora, ia3, vera or another that peft can inject")
    ] = "lora"
    r: (
        Annotated[int, Meta(ge=1, description="rank (default: that of the method in peft)")] | None
    ) = None
    blocks: (
        Annotated[int, Meta(ge=1, description="adapt so many blocks, the last ones (default: all)")]
        | None
    ) = None
    modules: Annotated[
        tuple[str, ...],
        Meta(description="layers by name or its end (default: all linear layers in blocks)"),
    ] = ()
    options: Annotated[
        dict[str, Any], Meta(description="further fields of the method's configuration in peft")
    ] = field(default_factory=dict)
    config: Annotated[
        str, Meta(description="folder with an adapter_config.json, instead of type, r and options")
    ] = ""

    def __post_init__(self) -> None:
        """Refuse options that contradict each other."""
        if self.config and (self.type != "lora" or self.r is not None or self.options):
            raise ValueError("config cannot be combined with type, r or options")
        if self.r is not None and "r" in self.options:
            raise ValueError("r is set twice, as an option and within options")

    def user_files(self) -> tuple[Path, ...]:
        """The file of the configuration, if one is named."""
        return (Path(self.config) / "adapter_config.json",) if self.config else ()

    def apply(self, classifier: nn.Module) -> None:
        """Inject the method into the backbone; its parameters keep their names.

        Raises:
            UsageError: peft has no such method or option, or cannot inject it.
        """
        from clsbench_peft.injection import inject, read_config  # brings torch and peft

        inject(classifier, read_config(self), self.modules, self.blocks)

    def merge(self, classifier: nn.Module) -> None:
        """Merge the method into the weights of the backbone, as peft does it.

        Raises:
            UsageError: peft cannot merge the method.
        """
        from clsbench_peft.injection import merge

        merge(classifier)

    def cache_facts(self, value: object) -> object:
        """The fields of a configuration; nothing for an object of peft without attributes."""
        from clsbench_peft.injection import facts_of

        return facts_of(value)


def _row(label: str, title: str, adapter: dict[str, Any]) -> SuiteRow:
    return SuiteRow(label=label, title=title, changes={"adapter": {"name": "peft", **adapter}})


PEFT_METHODS = SuiteSpec(
    description="Methods of parameter-efficient fine-tuning on the SMS spam experiment; rows 2, 5"
    " and 7 add 165,888 parameters to GPT-2 small, DoRA at its smallest rank 248,832, IA3 82,944",
    base="gpt2-sms-spam",
    changes={"freezing": "head-only", "train.lr": 1e-3},
    rows=(
        SuiteRow(label="1", title="head only", changes={}),
        _row("2", "LoRA, r = 1", {"type": "lora", "r": 1}),
        _row("3", "DoRA, r = 1", {"type": "dora", "r": 1}),
        _row("4", "IA3", {"type": "ia3"}),
        _row("5", "VeRA, r = 1152", {"type": "vera", "r": 1152}),
        _row("6", "LoRA, r = 8", {"type": "lora", "r": 8}),
        _row("7", "LoRA in the last block, r = 12", {"type": "lora", "r": 12, "blocks": 1}),
    ),
)


@clsbench.hookimpl
def clsbench_register_adapters() -> Mapping[str, type[clsbench.Adapter]]:
    """Register ``peft``."""
    return {"peft": Peft}


@clsbench.hookimpl
def clsbench_register_suites() -> Mapping[str, SuiteSpec]:
    """Register ``peft-methods``."""
    return {"peft-methods": PEFT_METHODS}
