"""The parts of ``gpu.py``; each runs in a process of its own, as ``python gpu_parts.py JOB FILE``.

A part replaces FILE by its results so far after every step, so that an early end loses nothing.
"""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # all models are built from their configuration
os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # silence the log of torch's profiler

import msgspec

from bounded_parts import Part, failure, write_json

if TYPE_CHECKING:
    from clsbench.bench.measurement import Measurement

REPOSITORY = Path(__file__).resolve().parents[1]
_REHEARSED_TESTS = ("tests/fastpath/test_embedding_gradients.py",)
"""Quick tests that the fast path equals the plain one."""

_REHEARSED_WAYS = ("CUDA graphs",)
"""Of compiling; the others need a C++ compiler."""

_REHEARSED_STRATEGIES = 2
_CLSBENCH = (sys.executable, "-m", "clsbench")
_TEST = re.compile(r"^\[gw\d+\] \[ *\d+%\] ([A-Z]+) (\S+?)::(.*?) *$")
_TEST_PROCESSES = 4
"""Most of the time of the tests is that of the host, so several processes share the GPU."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a part is given: its name, the device, and the folder for further files."""

    part: str
    device: str
    output: str
    assets: str | None = None
    rehearse: bool = False

    @property
    def assets_folder(self) -> Path | None:
        """The folder with data and vocabulary."""
        return None if self.assets is None else Path(self.assets)


Save = Callable[[Any], None]
"""Stores the results so far."""


class Kind(NamedTuple):
    """A part: what it does, and its limit in seconds on a GPU."""

    about: str
    run: Callable[[Job, Save], None]
    limit_seconds: float


def parts(job: Job) -> list[Part]:
    """All parts, the most valuable first; ``job`` is given to each."""
    return [
        Part(
            name,
            kind.about,
            (
                sys.executable,
                str(Path(__file__).resolve()),
                msgspec.json.encode(msgspec.structs.replace(job, part=name)).decode(),
            ),
            _REHEARSAL_SECONDS if job.rehearse else kind.limit_seconds,
        )
        for name, kind in KINDS.items()
    ]


# --- the machine and the tests --------------------------------------------------------------------


def _doctor(job: Job, save: Save) -> None:
    done = subprocess.run(
        [*_CLSBENCH, "doctor", "--offline", "--json", *_assets(job)],
        stdout=subprocess.PIPE,
        cwd=job.output,
    )
    save(msgspec.json.decode(done.stdout))
    sys.exit(done.returncode)


def _tests(job: Job, save: Save) -> None:
    """The tests marked ``cuda``, or in the rehearsal a few on the CPU."""
    chosen = ["-m", "not slow and not cuda", *_REHEARSED_TESTS]
    if not job.rehearse:
        chosen = ["-m", "cuda and not slow", "--continue-on-collection-errors", "tests"]
    processes = 1 if job.rehearse else min(_TEST_PROCESSES, os.cpu_count() or 1)
    options = ["-o", "addopts=--import-mode=importlib --dist loadfile", "-n", str(processes)]
    options += ["-p", "no:cacheprovider", "-v", "-rfEs"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, *chosen],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **_given_assets(job)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    by_file: dict[str, Counter[str]] = {}
    failed: list[str] = []
    for line in process.stdout:
        print(line, end="", flush=True)
        if found := _TEST.match(line):
            outcome, file, test = found.groups()
            by_file.setdefault(file, Counter())[outcome.lower()] += 1
            if outcome in ("FAILED", "ERROR"):
                failed.append(f"{file}::{test}")
            save({"by_file": by_file, "failed": failed})
    sys.exit(process.wait())


def _given_assets(job: Job) -> dict[str, str]:
    return {} if job.assets is None else {"CLSBENCH_ASSETS": job.assets}


# --- the races ------------------------------------------------------------------------------------


def _race(job: Job, save: Save) -> None:
    import torch

    from gpu_race import FULL, MINIATURE, race_all

    scale = MINIATURE if job.rehearse else FULL
    rows = race_all(torch.device(job.device), job.assets_folder, scale, save)
    sys.exit(int(any(row.verdict for row in rows)))


def _compile(job: Job, save: Save) -> None:
    import torch

    from gpu_compile import WAYS, compile_all
    from gpu_race import FULL, MINIATURE

    scale, ways = (MINIATURE, _REHEARSED_WAYS) if job.rehearse else (FULL, tuple(WAYS))
    compile_all(torch.device(job.device), job.assets_folder, scale, ways, save)


def _trace(job: Job, save: Save) -> None:
    import torch

    from gpu_compile import trace_loop
    from gpu_race import FULL, MINIATURE

    scale = MINIATURE if job.rehearse else FULL
    save(trace_loop(torch.device(job.device), job.assets_folder, scale, Path(job.output)))


# --- whole runs -----------------------------------------------------------------------------------


def _whole(job: Job, save: Save) -> None:
    """Rows 1 and 5 of the book's ablation, each by a command of its own."""
    runs = {
        "row 1, nothing kept": [],
        "row 1, prefix kept": [],
        "row 5": ["--freezing", "all"],
        "row 5, bf16": ["--freezing", "all", "--precision", "bf16"],
    }
    if job.rehearse:
        runs = {"row 1, nothing kept": []}
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "CLSBENCH_CACHE": str(Path(folder, "cache"))}
        for name, arguments in runs.items():
            command = [*_experiment(job), *arguments, "--out", str(Path(folder, "runs"))]
            started = time.perf_counter()
            done = subprocess.run(
                [*_CLSBENCH, "--quiet", "run", *command, "--device", job.device, "--json"],
                stdout=subprocess.PIPE,
                env=environment,
                cwd=job.output,
            )
            row = {"name": name, "command": command, "exit_code": done.returncode,
                   "process_seconds": time.perf_counter() - started}  # fmt: skip
            if done.stdout:
                row["record"] = msgspec.json.decode(done.stdout)
            found.append(row)
            save(found)
    sys.exit(int(any(row["exit_code"] for row in found)))  # negative if ended by a signal


def _experiment(job: Job) -> list[str]:
    """The experiment of the whole runs."""
    backbone = "gpt2-nano:weights=random" if job.rehearse else "gpt2:weights=random"
    chosen = ["gpt2-sms-spam", "--backbone", backbone, "--set", "baselines=[]", *_assets(job)]
    if job.rehearse:
        chosen += ["--set", "train.epochs=1", "--set", "data.padding=32"]
    return chosen


def _assets(job: Job) -> list[str]:
    return [] if job.assets is None else ["--assets", job.assets]


# --- memory and throughput ------------------------------------------------------------------------


def _memory(job: Job, save: Save) -> None:
    """Peak memory of a training step of each side, and what its model and optimizer hold."""
    import torch

    from gpu_race import FULL, MINIATURE, MODES
    from our_side import OurSide
    from peers import BookSide, make_fast_book_model
    from workload import SETTINGS, prepare

    scale = MINIATURE if job.rehearse else FULL
    device = torch.device(job.device)
    found: list[dict[str, Any]] = []
    for setting in ("last-block",) if job.rehearse else ("last-block", "all"):
        for mode in (MODES[0], MODES[2]):
            workload = prepare(
                SETTINGS[setting], scale.size, job.assets_folder, None, scale.batches, job.device,
                mode.precision,
            )  # fmt: skip
            seed = workload.experiment.spec.seed
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                book = partial(BookSide, workload, folder, seed)
                makers: dict[str, Callable[[], Any]] = {
                    "clsbench": partial(OurSide, workload, folder),
                    "book": book,
                    "GPTModelFast": partial(book, make=make_fast_book_model),
                }
                for side, make in makers.items():
                    row = {"setting": setting, "mode": mode.name, "side": side}
                    try:
                        found.append({**row, **_memory_of(make(), device)})
                    except Exception as error:
                        found.append({**row, "failed": failure(error)})
                    save(found)
                    gc.collect()
    sys.exit(int(any("failed" in row for row in found)))


def _memory_of(side: Any, device: Any) -> dict[str, int]:
    from clsbench.bench.memory import peak_memory

    side.step()  # creates the optimizer's state
    peak = peak_memory(side.step, device)
    return {"held_bytes": _held_bytes(side), "step_bytes": peak.allocated}


def _held_bytes(side: Any) -> int:
    """The bytes of the parameters and of the optimizer's state."""
    import torch

    model = getattr(side, "classifier", None) or side.model
    states = side.optimizer.state.values()
    state = [v for each in states for v in each.values() if isinstance(v, torch.Tensor)]
    return sum(tensor.nbytes for tensor in (*model.parameters(), *state))


def _freezing(job: Job, save: Save) -> None:
    """Time the steps of every freezing strategy in the catalog with its default options."""
    from clsbench.bench.run import Variant, bench
    from clsbench.bench.sampling import Rules
    from clsbench.components.catalog import load_catalog
    from clsbench.components.resolve import find_spec, resolve
    from clsbench.schema.options import RunOptions

    catalog = load_catalog()
    spec = find_spec("gpt2-sms-spam", catalog)
    backbone = "gpt2-nano:weights=random" if job.rehearse else "gpt2:weights=random"
    # Load by other processes is recorded, but drops no sample.
    rules = Rules(budget_seconds=0.3 if job.rehearse else 0.6, load_limit_cores=float("inf"))
    phases = ("train step", "cached train step")
    found: list[dict[str, Any]] = []
    strategies = list(_freezing_strategies(catalog))
    for freezing in strategies[:_REHEARSED_STRATEGIES] if job.rehearse else strategies:
        for precision in ("fp32",) if job.rehearse else ("fp32", "bf16"):
            options = RunOptions(device=job.device, precision=precision, assets=job.assets_folder)  # type: ignore[arg-type]
            changes = {"backbone": backbone, "freezing": freezing}
            variant = Variant(freezing, resolve(spec, changes, catalog), options)
            row = {"freezing": freezing, "precision": precision}
            try:
                report = bench([variant], None, phases, rules, catalog, lambda value, phase: None)
            except Exception as error:
                found.append({**row, "phase": "all", "failed": failure(error)})
            else:
                (point,) = report.points
                found += [{**row, **_throughput(each)} for each in point.measurements]
                found += [
                    {**row, "phase": each.phase, "failed": f"failed: {each.reason}"}
                    for each in point.failed
                ]
                if report.error is not None:
                    found.append({**row, "phase": "all", "failed": f"failed: {report.error}"})
            save(found)
    sys.exit(int(any("failed" in row for row in found)))


def _throughput(each: Measurement) -> dict[str, Any]:
    return {
        "phase": each.phase,
        "seconds": each.seconds,
        "examples_per_second": each.per_second(each.examples),
        "real_tokens_per_second": each.per_second(each.real_tokens),
        "measurement": each,
    }


def _freezing_strategies(catalog: Any) -> Iterator[str]:
    for name, entry in catalog.entries["freezing_strategies"].items():
        if not any(field.required for field in msgspec.structs.fields(entry.component)):
            yield name


_REHEARSAL_SECONDS = 300.0  # a part takes seconds; this is for a busy machine
KINDS = {
    "doctor": Kind("versions, devices and files", _doctor, 40),
    "tests": Kind("the tests marked cuda (in a rehearsal, some on the CPU)", _tests, 100),
    "race": Kind("the fast path against the book's code and its GPTModelFast", _race, 150),
    "whole": Kind("rows 1 and 5, each run whole", _whole, 90),
    "compile": Kind("the cached step with CUDA graphs and torch.compile", _compile, 90),
    "trace": Kind("a trace of the training loop", _trace, 40),
    "memory": Kind("peak memory of a training step", _memory, 50),
    "freezing": Kind("throughput per freezing strategy", _freezing, 70),
}
"""The parts by name, the most valuable first."""


def main() -> None:
    """Run one part."""
    job, file = msgspec.json.decode(sys.argv[1], type=Job), Path(sys.argv[2])
    if job.rehearse:
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # faster for miniature sizes
    KINDS[job.part].run(job, lambda result: write_json(file, result))


if __name__ == "__main__":
    main()
