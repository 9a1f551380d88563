"""Where and how to run: everything about a run that is not part of the experiment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from clsbench.spec import convert

DEFAULT_STORE = Path("runs")


class RunOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The circumstances of a run. The command line's options and their help derive from here."""

    device: Annotated[
        str,
        Meta(
            pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
            description="auto (the best there is), cpu, cuda, cuda:1 …, or mps",
        ),
    ] = "auto"
    precision: Annotated[
        Literal["fp32", "bf16", "fp64"],
        Meta(description="fp32; bf16 (autocast: faster on fitting hardware, not exact); fp64"),
    ] = "fp32"
    threads: (
        Annotated[int, Meta(ge=1, description="CPU threads of torch (default: torch's choice)")]
        | None
    ) = None
    deterministic: Annotated[
        bool, Meta(description="ask torch for deterministic algorithms (CUDA: identical repeats)")
    ] = False
    assets: (
        Annotated[Path, Meta(description="a folder looked in first for data and weights")] | None
    ) = None
    offline: Annotated[
        bool,
        Meta(description="never touch the network; embedded stand-ins replace what is missing"),
    ] = False
    out: Annotated[Path, Meta(description="the store of runs")] = DEFAULT_STORE
    plugins: Annotated[
        tuple[str, ...], Meta(description="plugin files or modules that are not installed")
    ] = ()


def default_options(given: Mapping[str, Any]) -> RunOptions:
    """Options from plain values; ``CLSBENCH_ASSETS``, ``CLSBENCH_RUNS`` and ``CLSBENCH_PLUGINS``
    stand in for what is not given.

    Raises:
        UsageError: a value does not fit.
    """
    values = dict(given)
    for key, variable in (("assets", "CLSBENCH_ASSETS"), ("out", "CLSBENCH_RUNS")):
        if key not in values and os.environ.get(variable):
            values[key] = os.environ[variable]
    if "plugins" not in values and os.environ.get("CLSBENCH_PLUGINS"):
        values["plugins"] = os.environ["CLSBENCH_PLUGINS"].split(os.pathsep)
    plain = {k: str(v) if isinstance(v, Path) else v for k, v in values.items()}
    return convert(plain, RunOptions, "the run's options")
