"""Plugin files that tests write, and errors from loading them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clsbench.components.catalog import load_catalog
from clsbench.errors import PluginError

GOOD = '''
"""A plugin with postponed annotations, which msgspec must resolve."""
from __future__ import annotations
from collections.abc import Sequence
from typing import Annotated
from msgspec import Meta
import clsbench


class AttentionOnly(clsbench.FreezingStrategy):
    """Train the attention of the last blocks; leave every MLP frozen."""

    blocks: Annotated[int, Meta(ge=1)] = 4
    names: tuple[str, ...] = (".att.",)

    def trainable(self, parameters: Sequence[clsbench.ParameterInfo]) -> list[str]:
        stages = clsbench.last_blocks(parameters, self.blocks)
        return [p.name for p in parameters if p.stage in stages and ".att." in p.name]


@clsbench.hookimpl
def clsbench_register_freezing_strategies():
    return {"attention-only": AttentionOnly}
'''


def plugin(hook: str, returned: str, before: str = "") -> str:
    return f'''
import clsbench, msgspec
{before}

class Wide(clsbench.Head):
    """A head."""

    def build(self, hidden_size, num_classes):
        from torch import nn
        return nn.Linear(hidden_size, num_classes)


@clsbench.hookimpl
def {hook}():
    return {returned}
'''


HEADS = "clsbench_register_heads"


def complaint(path: str) -> str:
    """The error of loading the plugin by name; it names the plugin."""
    with pytest.raises(PluginError) as caught:
        load_catalog([path])
    assert caught.value.exit_code == 2
    assert path in str(caught.value)
    return str(caught.value)


def clsbench(*arguments: str, site: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CLSBENCH_")}
    if site is not None:
        environment["PYTHONPATH"] = str(site)
    return subprocess.run(
        [sys.executable, "-m", "clsbench", *arguments],
        capture_output=True,
        encoding="utf-8",
        env=environment,
        timeout=120,
    )
