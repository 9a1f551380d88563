"""The cached training step as it is, with CUDA graphs and compiled; and a trace of its loop."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function

from bounded_parts import failure
from clsbench.bench.interleaving import Comparison, Race, race
from clsbench.bench.stopwatch import stopwatch
from clsbench.fastpath.chain import Inputs
from clsbench.fastpath.fast_forward import FastForward
from gpu_race import MODES, Mode, Scale, arithmetic
from our_side import OurSide
from workload import SETTINGS, Workload, prepare

EAGER = "eager"
WAYS: dict[str, dict[str, str]] = {
    "CUDA graphs": {"backend": "cudagraphs"},
    "compile, CUDA graphs": {"mode": "reduce-overhead"},
    "compile": {"mode": "default"},
}
"""The options of ``torch.compile``. The first needs no compiler on the machine. On other devices
than GPUs, no graphs are recorded."""

_CHECKED_STEPS = 8
_ALLOWED = {"fp32": 1e-3, "bf16": 5e-2}
"""Allowed differences of losses, larger than rounding, which AdamW magnifies; compiled kernels
round less often in bf16."""

_TRACED = "training loop"


class CompiledForward(FastForward):
    """A fast path whose trained stages are compiled; joining kept rows to a batch is not."""

    options: Mapping[str, str]

    def _logits(self, split: str, indices: Sequence[int]) -> Tensor:
        assert self._rows is not None
        assert self._store is not None
        assert self._cut
        slots = self._rows.of(split, indices)
        inputs = self._arrange(slots)
        hidden = self._join(self._store.at(self._cut, slots), self._cut, inputs)
        torch.compiler.cudagraph_mark_step_begin()
        logits: Tensor = self._compiled()(hidden, inputs)
        return logits

    def _compiled(self) -> Any:
        if (compiled := getattr(self, "_suffix", None)) is None:
            compiled: Any = torch.compile(self._run_suffix, dynamic=False, **self.options)  # type: ignore[call-overload]
            self._suffix = compiled
        return compiled

    def _run_suffix(self, hidden: Tensor, inputs: Inputs) -> Tensor:
        context = self._chain.context(inputs)
        for index in range(self._cut, len(self._chain)):
            hidden = self._chain.run(index, hidden, context, inputs)
        logits: Tensor = self.classifier.out_head(hidden)
        return logits


def compiled_side(how: str) -> type[OurSide]:
    """Our side with a fast path that is compiled in one of the :data:`WAYS`."""
    forward = type("Compiled", (CompiledForward,), {"options": WAYS[how]})
    return type("CompiledSide", (OurSide,), {"forward_class": forward})


class Compiled(msgspec.Struct, frozen=True, kw_only=True):
    """One way of compiling, compared with the eager step. Times are those of one step.

    ``verdict`` is empty if it was timed, else the reason why not.
    """

    setting: str
    mode: str
    how: str
    verdict: str
    difference: float | None = None
    allowed: float | None = None
    first_steps_seconds: float | None = None
    against_eager: Comparison | None = None
    control: Comparison | None = None
    steps_in_a_call: int = 0
    race: Race | None = None


def compile_all(
    device: torch.device,
    assets: Path | None,
    scale: Scale,
    ways: Sequence[str],
    save: Callable[[list[Compiled]], None],
) -> None:
    """Compare the steps of row 1, compiled in these :data:`WAYS`, with the eager one."""
    setting = SETTINGS["last-block"]
    rows: list[Compiled] = []
    save(rows)
    for mode in (mode for mode in MODES if mode.name in scale.compiled_modes):
        workload = prepare(
            setting, scale.size, assets, None, scale.batches, str(device), mode.precision
        )
        for how in ways:
            torch.compiler.reset()
            with arithmetic(mode), tempfile.TemporaryDirectory() as folder:
                try:
                    rows.append(_compare(workload, mode, how, scale, Path(folder)))
                except Exception as error:  # the compilers raise errors of many types
                    failed = Compiled(setting=setting.name, mode=mode.name, how=how, verdict="")
                    rows.append(msgspec.structs.replace(failed, verdict=failure(error)))
            save(rows)


def _compare(workload: Workload, mode: Mode, how: str, scale: Scale, folder: Path) -> Compiled:
    made = Compiled(setting=workload.setting.name, mode=mode.name, how=how, verdict="")
    eager = OurSide(workload, folder)
    compiled = compiled_side(how)(workload, folder)
    started = time.perf_counter()
    losses = [compiled.step() for _ in range(_CHECKED_STEPS)]
    seconds = time.perf_counter() - started
    expected = [eager.step() for _ in range(_CHECKED_STEPS)]
    difference = float(np.max(np.abs(np.subtract(losses, expected))))
    made = msgspec.structs.replace(
        made, difference=difference, allowed=_ALLOWED[mode.name], first_steps_seconds=seconds
    )
    if not difference <= _ALLOWED[mode.name]:
        return msgspec.structs.replace(made, verdict=f"losses differ by {difference:.1e}")
    found = race({how: compiled.steps, EAGER: eager.steps}, scale.rules, stopwatch(workload.device))
    steps = len(workload.batches)
    against = found.compare(how, EAGER)
    if against.fast_seconds is not None and against.slow_seconds is not None:
        against = msgspec.structs.replace(
            against,
            fast_seconds=against.fast_seconds / steps,
            slow_seconds=against.slow_seconds / steps,
        )
    return msgspec.structs.replace(
        made,
        against_eager=against,
        control=found.control(EAGER),
        steps_in_a_call=steps,
        race=found,
    )


# --- the trace of the loop ------------------------------------------------------------------------


class Traced(msgspec.Struct, frozen=True, kw_only=True):
    """A traced loop of ``steps`` training steps: how often the host waited for the device in it.

    ``waits`` counts the calls by name; ``trace`` is the file, for chrome://tracing or Perfetto.
    """

    setting: str
    steps: int
    seconds: float
    waits: dict[str, int]
    trace: str


def trace_loop(device: torch.device, assets: Path | None, scale: Scale, folder: Path) -> Traced:
    """Trace the training loop of row 1 without the wait at its end; write the trace."""
    workload = prepare(SETTINGS["last-block"], scale.size, assets, None, scale.batches, str(device))
    side = OurSide(workload, folder)
    side.steps()  # warm-up
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as watched:
        with record_function(_TRACED):
            side.steps(wait=False)
        side.settle()
    file = folder / "trace.json"
    watched.export_chrome_trace(str(file))
    packed = folder / "trace.json.gz"
    with file.open("rb") as plain, gzip.open(packed, "wb") as target:
        shutil.copyfileobj(plain, target)
    file.unlink()
    events = watched.events() or []
    loop = next(e for e in events if e.name == _TRACED and e.device_type.name == "CPU")
    inside = [e.name for e in events if _within(e, loop) and is_wait(e.name)]
    return Traced(
        setting=workload.setting.name,
        steps=len(workload.batches),
        seconds=loop.time_range.elapsed_us() / 1e6,
        waits=dict(Counter(inside)),
        trace=packed.name,
    )


def _within(event: Any, loop: Any) -> bool:
    return bool(loop.time_range.start <= event.time_range.start < loop.time_range.end)


def is_wait(name: str) -> bool:
    """Whether the host waits for the device in a call of this name."""
    return name.startswith("cu") and "Synchronize" in name
