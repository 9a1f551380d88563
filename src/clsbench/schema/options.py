"""Run options: where and how to run, as opposed to what to run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import msgspec
from msgspec import Meta

from clsbench.errors import UsageError
from clsbench.schema.convert import convert
from clsbench.schema.environment_variables import ENVIRONMENT
from clsbench.schema.quantities import SIZE_PATTERN

DEFAULT_STORE = Path("runs")
_A_SIZE = {"expected": "a size such as 200MB, 1.5GiB or 0"}


class RunOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where and how to run. The command line's options and their help derive from these fields."""

    device: Annotated[
        str,
        Meta(
            pattern=r"^(auto|cpu|mps|cuda(:[0-9]{1,4})?)\Z",
            description="auto (best available device), cpu, cuda, cuda:1 …, or mps",
        ),
    ] = "auto"
    precision: Annotated[
        Literal["fp32", "bf16", "fp64"],
        Meta(description="fp32; bf16 (autocast: faster on supported hardware, not exact); fp64"),
    ] = "fp32"
    threads: (
        Annotated[int, Meta(ge=1, description="CPU threads used by torch (default: torch's own)")]
        | None
    ) = None
    deterministic: Annotated[
        bool, Meta(description="use torch's deterministic algorithms (reproducible on CUDA)")
    ] = False
    plain: Annotated[
        bool, Meta(description="disable all shortcuts and recompute everything (same results)")
    ] = False
    no_fast: Annotated[
        tuple[Literal["prefix", "position", "packing"], ...],
        Meta(
            description="shortcut to disable: prefix (compute frozen layers once per text), "
            "position (compute the last block only at the pooled position), packing (skip padding)"
        ),
    ] = ()
    cache_memory: (
        Annotated[
            str,
            Meta(
                pattern=SIZE_PATTERN,
                extra=_A_SIZE,
                description="memory for cached activations, such as 200MB (default: up to half of "
                "the free memory)",
            ),
        ]
        | None
    ) = None
    cache_disk: Annotated[
        str,
        Meta(
            pattern=SIZE_PATTERN,
            extra=_A_SIZE,
            description="disk space for activations cached across runs (least recently used are "
            "deleted first) and for activations of this run that do not fit in memory; 0 disables "
            "both",
        ),
    ] = "8GB"
    assets: (
        Annotated[Path, Meta(description="folder to search first for data and weights")] | None
    ) = None
    offline: Annotated[
        bool,
        Meta(description="do not access the network; embedded stand-ins replace missing files"),
    ] = False
    out: Annotated[Path, Meta(description="folder in which runs are saved")] = DEFAULT_STORE
    curves: Annotated[
        bool,
        Meta(
            description="draw each run's loss and accuracy, which takes about half a second a run "
            "(--no-curves for large suites of small runs)"
        ),
    ] = True
    plugins: Annotated[
        tuple[str, ...],
        Meta(description="plugins that are not installed: Python files or module names"),
    ] = ()


class RunOptionsDict(TypedDict, total=False):
    """The fields of :class:`RunOptions` as keyword arguments; ``None`` means the default."""

    device: str | None
    precision: str | None
    threads: int | None
    deterministic: bool | None
    plain: bool | None
    no_fast: Sequence[str] | None
    cache_memory: str | None
    cache_disk: str | None
    assets: str | Path | None
    offline: bool | None
    out: str | Path | None
    curves: bool | None
    plugins: Sequence[str] | None


def plain_options(options: RunOptions) -> dict[str, Any]:
    """The options as plain values that JSON can hold; :func:`options_from` reads them back."""
    plain: dict[str, Any] = msgspec.to_builtins(options, enc_hook=str)
    return plain


def options_from(plain: Mapping[str, Any]) -> RunOptions:
    """Options from :func:`plain_options`; environment variables are ignored."""
    return msgspec.convert(dict(plain), RunOptions, dec_hook=lambda kind, value: kind(value))


def default_options(given: Mapping[str, Any]) -> RunOptions:
    """Options from plain values; the others come from environment variables (:data:`ENVIRONMENT`).

    Raises:
        UsageError: a value is invalid.
    """
    values = dict(given)
    for key, variable in ENVIRONMENT.items():
        text = os.environ.get(variable)
        if key not in values and text:
            values[key] = text.split(os.pathsep) if key == "plugins" else text
        if key in ("assets", "out") and key in values:
            if not str(values[key]).strip():
                raise UsageError(f"{key} = {str(values[key])!r}: name a folder ('.' is this one)")
            values[key] = Path(values[key])
    return convert(values, RunOptions, "the run's options")
