"""The committed baseline: stored runs of the benchmarks with which later runs are compared.

One file per run in the format of pytest-benchmark's storage, without samples and the machine's
name, in one folder per kind of machine.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
from benchmarks.watch.history import FEWEST_RUNS, BenchmarkRun, History

from clsbench.errors import UsageError

_DIGEST = 10


def runs_for_baseline(history: History, most: int) -> tuple[BenchmarkRun, ...]:
    """The latest runs of the latest run's commit on its kind of machine, at most ``most``.

    Raises:
        UsageError: the sources were not committed, or there are too few such runs.
    """
    latest = history.runs[-1]
    if latest.commit.endswith("-dirty"):
        raise UsageError(
            f"the latest run ({latest.file}) is of sources that were not committed "
            f"({latest.commit}): a baseline is of a commit; commit them and run pytest benchmarks/"
        )
    if latest.commit in ("", "unknown") or latest.commit.startswith("unversion"):
        raise UsageError(
            f"the latest run ({latest.file}) names no commit: a baseline is of a commit; run "
            "pytest benchmarks/ in a git checkout"
        )
    runs = [
        run
        for run in history.runs
        if (run.machine, run.commit) == (latest.machine, latest.commit)
        and any(result.seconds for result in run.results.values())
    ]
    if len(runs) < FEWEST_RUNS:
        raise UsageError(
            f"a baseline needs at least {FEWEST_RUNS} runs of one commit on one kind of machine, "
            f"undisturbed at least in part; of {latest.commit} there are {len(runs)}: run "
            f"pytest benchmarks/ {FEWEST_RUNS - len(runs)} more times"
        )
    return tuple(runs[-most:])


def save_baseline(runs: Sequence[BenchmarkRun], folder: Path) -> Path:
    """Write similar runs below ``folder``, replacing the former ones of this kind of machine.

    Returns:
        The machine's folder.

    Raises:
        OSError: it cannot be written.
    """
    machine = hashlib.sha256(runs[0].machine.encode()).hexdigest()[:_DIGEST]
    place = folder / machine
    fresh = place.with_name(f".{machine}-unfinished")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for number, run in enumerate(runs, 1):
        content = msgspec.json.format(msgspec.json.encode(_kept(run), order="deterministic"))
        (fresh / f"{number:02}.json").write_bytes(content + b"\n")
    shutil.rmtree(place, ignore_errors=True)
    fresh.rename(place)
    return place


def _kept(run: BenchmarkRun) -> dict[str, object]:
    commit = run.commit.removesuffix("-dirty")
    return {
        "machine_info": {
            "clsbench": msgspec.json.decode(run.machine),
            "selection": run.selection,
        },
        "commit_info": {"id": commit, "dirty": commit != run.commit},
        "datetime": run.date,
        "benchmarks": [
            {
                "fullname": name,
                "group": result.group,
                "extra_info": {
                    "quiet_median_seconds": result.seconds,
                    "quiet_median_of_reference": result.of_reference,
                    "reference_seconds": [run.reference_seconds] if run.reference_seconds else [],
                },
            }
            for name, result in run.results.items()
        ],
    }
