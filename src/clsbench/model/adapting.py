"""Apply an adapter to a classifier and check that the backbone's parameters keep their names."""

from __future__ import annotations

from torch import nn

from clsbench.components.axes import Adapter
from clsbench.errors import PluginError
from clsbench.model.freezing import BACKBONE_PREFIX

_SHOWN = 3


def apply_adapter(adapter: Adapter, classifier: nn.Module) -> None:
    """Apply ``adapter`` in place and check that the backbone's parameters kept their names.

    Freezing strategies use the backbone's names: a renamed parameter would be trained and stored
    whatever the strategy selects.

    Raises:
        PluginError: parameters of the backbone are missing or renamed.
    """
    before = {n: p for n, p in classifier.named_parameters() if n.startswith(BACKBONE_PREFIX)}
    adapter.apply(classifier)
    after = dict(classifier.named_parameters())
    present = {id(parameter) for parameter in after.values()}
    lost = [
        name.removeprefix(BACKBONE_PREFIX)
        for name, parameter in before.items()
        # The name belongs to another parameter, and the original still exists: it was renamed.
        if name not in after or (after[name] is not parameter and id(parameter) in present)
    ]
    if lost:
        shown = ", ".join(lost[:_SHOWN]) + (
            f" and {len(lost) - _SHOWN} more" * (len(lost) > _SHOWN)
        )
        raise PluginError(
            f"the adapter {type(adapter).__name__} renames or removes {len(lost)} of the "
            f"backbone's {len(before)} parameters: {shown}; freezing strategies select parameters "
            "by the backbone's names, so these would train even where they should stay frozen. An "
            "adapter must keep the names: a module that wraps another registers the wrapped "
            "module's parameters as its own too (wrapper.weight = wrapped.weight; where `weight` "
            'is a property, as in peft: wrapper._parameters["weight"] = wrapped.weight)'
        )
