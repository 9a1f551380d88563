"""Timing and storage of the workloads of ``pytest benchmarks/``."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # silence the log of torch's profiler

import msgspec
import pytest
import torch

import clsbench
from clsbench.bench.flops import count_flops
from clsbench.bench.memory import peak_memory
from clsbench.bench.phases import NotApplicable, phase_workloads
from clsbench.bench.sampling import FEWEST_SAMPLES, Workload, calls_for, warm_up
from clsbench.bench.stopwatch import HostStopwatch
from clsbench.bench.subject import Subject, prepare_subject
from clsbench.components.catalog import load_catalog
from clsbench.components.resolve import find_spec, resolve
from clsbench.errors import AssetError, ClsbenchError
from clsbench.schema.options import RunOptions, default_options
from clsbench.system.environment import circumstances, cpu_name, git_commit, no_cuda_device
from round_client import RoundClient
from rounds import METHOD, RoundTimer, on_one_core

HERE = Path(__file__).parent
HISTORY = HERE / ".history"
FEWEST_ROUNDS = FEWEST_SAMPLES + 2  # other processes may disturb some
MOST_ROUNDS = 300
EXPERIMENT = {"dataset": "synthetic-sms", "data.padding": 64}
"""The embedded components, so that the benchmarks need no files."""


TIMER = RoundTimer()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("clsbench")
    group.addoption(
        "--backbone",
        default="gpt2-nano:weights=random",
        help="Backbone to time (default: %(default)s); for the full size use "
        "gpt2:size=small,weights=random with --assets for its vocabulary.",
    )
    group.addoption("--assets", help="Folder with data and weights, as for clsbench run.")
    group.addoption("--threads", type=int, help="CPU threads used by torch (default: torch's own).")
    group.addoption(
        "--seconds", type=float, default=1.0, help="Seconds per benchmark (default: %(default)s)."
    )
    group.addoption(
        "--load-limit",
        type=float,
        default=os.environ.get("CLSBENCH_LOAD_LIMIT", "0.15"),
        help="Drop rounds in which other processes use more cores (default: %(default)s, or "
        "CLSBENCH_LOAD_LIMIT).",
    )
    group.addoption(
        "--slow-down",
        type=float,
        default=0.0,
        help="Make every call longer by this fraction, to test whether it is detected.",
    )
    group.addoption(
        "--turns",
        metavar="HOST:PORT",
        help="Address of the server of check --against, which alternates rounds of processes.",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("benchmark_storage") == "file://./.benchmarks":  # the default
        config.option.benchmark_storage = f"file://{HISTORY}"
    if address := config.getoption("--turns"):
        TIMER.client = RoundClient(address)


def pytest_collection_finish(session: pytest.Session) -> None:
    if TIMER.client is not None:
        TIMER.client.will([item.nodeid for item in session.items])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        given = item.get_closest_marker("benchmark")
        options = {**(given.kwargs if given is not None else {}), "timer": TIMER}
        item.add_marker(pytest.mark.benchmark(**options), append=False)


def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    """Only runs with the same are compared."""
    machine_info["clsbench"] = {
        "method": METHOD,
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "torch": str(torch.__version__),
        "threads": config.getoption("--threads") or torch.get_num_threads(),
        "python": platform.python_version(),
        "backbone": config.getoption("--backbone"),
        "seconds": config.getoption("--seconds"),
        "load_limit_cores": config.getoption("--load-limit"),
        "slow_down": config.getoption("--slow-down"),
    }
    chosen = [config.option.keyword, config.option.markexpr, *(config.option.deselect or [])]
    places = [os.path.relpath(config.invocation_params.dir / a, HERE) for a in config.args]
    machine_info["selection"] = " / ".join([*chosen, *places])


def pytest_benchmark_generate_commit_info(config: pytest.Config) -> dict[str, Any]:
    """Of the sources that are timed, wherever pytest was started."""
    commit, dirty = "unversioned", False
    if git_commit() is not None:  # the sources are in a repository, and not beside one
        commit = _git("rev-parse", "HEAD")
        dirty = bool(_git("status", "--porcelain", "--", ":/src", ":/benchmarks/*.py"))
    return {"id": commit, "time": None, "author_time": None, "dirty": dirty,
            "project": "clsbench", "branch": "(unknown)"}  # fmt: skip


def _git(*arguments: str) -> str:
    sources = Path(clsbench.__file__).parent
    done = subprocess.run(
        ["git", "-C", sources, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture(scope="session")
def options(pytestconfig: pytest.Config) -> RunOptions:
    """The circumstances of all benchmarks."""
    given = {
        "threads": pytestconfig.getoption("--threads"),
        "assets": pytestconfig.getoption("--assets"),
    }
    return default_options({key: value for key, value in given.items() if value is not None})


@pytest.fixture(autouse=True)
def _in_these_circumstances(options: RunOptions) -> Iterator[None]:
    with circumstances(options):
        yield


@pytest.fixture(scope="session")
def make_subject(
    options: RunOptions, pytestconfig: pytest.Config
) -> Callable[[torch.device, dict[str, Any]], Subject]:
    """The embedded experiment with changes, on a device."""
    catalog = load_catalog(options.plugins)
    base = find_spec("gpt2-sms-spam", catalog)
    latest: dict[str, Subject] = {}

    def make(device: torch.device, changes: dict[str, Any]) -> Subject:
        key = f"{device} {changes}"
        if key not in latest:
            latest.clear()  # not all large ones fit into memory
            spec = {**EXPERIMENT, "backbone": pytestconfig.getoption("--backbone"), **changes}
            try:
                latest[key] = prepare_subject(
                    resolve(base, spec, catalog), options, device, catalog
                )
            except AssetError as error:  # an error of the backbone: no benchmark can run
                pytest.exit(str(error), returncode=error.exit_code)
            except (
                ClsbenchError
            ) as error:  # a component that does not fit, or lacks required options
                pytest.fail(str(error), pytrace=False)
        return latest[key]

    return make


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> torch.device:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip(no_cuda_device())
    return torch.device(request.param)


@pytest.fixture
def timed(
    benchmark: Any, request: pytest.FixtureRequest, pytestconfig: pytest.Config
) -> Callable[[Workload], None]:
    """Times a workload; facts about it and about each round are stored in ``extra_info``."""
    seconds = pytestconfig.getoption("--seconds")
    limit_cores = pytestconfig.getoption("--load-limit")
    slow_down = pytestconfig.getoption("--slow-down")

    def time_it(workload: Workload) -> None:
        workload.setup()
        try:
            warm = warm_up(workload.call, HostStopwatch(), seconds)
            call = slowed(workload.call, slow_down) if slow_down else workload.call
            with TIMER.together(request.node.nodeid, statistics.median(warm.seconds[-3:])) as each:
                calls = calls_for(TIMER.round_seconds, [each])
                rounds = round(seconds / max(calls * each, 1e-9))
                rounds = min(max(rounds, FEWEST_ROUNDS), MOST_ROUNDS)
                TIMER.reset(first=call if calls > 1 else None)
                with on_one_core():
                    benchmark.pedantic(call, rounds=rounds, iterations=calls)
            watched = TIMER.rounds
            memory = peak_memory(workload.call, workload.device)
            flops = count_flops(workload.call)
        finally:
            workload.teardown()
        if benchmark.disabled:
            return
        times = benchmark.stats.stats.data  # by call
        quiet = [
            (seconds, each.reference_seconds)
            for seconds, each in zip(times, watched, strict=True)
            if each.foreign_cores <= limit_cores
        ]
        multiples = [taken / reference for taken, reference in quiet if reference is not None]
        enough = len(quiet) >= FEWEST_SAMPLES
        median = statistics.median(seconds for seconds, _ in quiet) if enough else None
        benchmark.extra_info.update(
            device=str(workload.device),
            phase=workload.phase,
            warm_up_calls=len(warm.seconds),
            stable=warm.settled,
            started_seconds=[each.started_seconds for each in watched],
            foreign_cores=[each.foreign_cores for each in watched],
            reference_seconds=[
                each.reference_seconds for each in watched if each.reference_seconds is not None
            ],
            load_limit_cores=limit_cores,
            dropped=len(times) - len(quiet),
            quiet_median_seconds=median,
            quiet_median_of_reference=(
                statistics.median(multiples) if enough and multiples else None
            ),
            examples=workload.examples,
            real_tokens=workload.real_tokens,
            padded_tokens=workload.padded_tokens,
            real_tokens_per_second=workload.real_tokens / median if median else None,
            flops=flops,
            memory=msgspec.to_builtins(memory),
        )

    return time_it


def slowed(call: Callable[[], object], fraction: float) -> Callable[[], None]:
    """Run the call, then wait for ``fraction`` of its time."""

    def slower() -> None:
        started = time.perf_counter()
        call()
        ended = time.perf_counter()
        until = ended + fraction * (ended - started)
        while time.perf_counter() < until:
            pass

    return slower


@pytest.fixture
def timed_phase(
    make_subject: Callable[[torch.device, dict[str, Any]], Subject],
    timed: Callable[[Workload], None],
) -> Callable[[torch.device, str, dict[str, Any]], None]:
    """Times a phase of the embedded experiment with changes."""

    def time_phase(device: torch.device, phase: str, changes: dict[str, Any]) -> None:
        (workload,) = phase_workloads(make_subject(device, changes), [phase])
        if isinstance(workload, NotApplicable):
            pytest.skip(workload.reason)
        timed(workload)

    return time_phase
