"""A small suite, an executor in this process, and an observer, for tests of suites."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from clsbench.components.catalog import Catalog
from clsbench.executors import Executor, Job, Message, Scheduler, run_job
from clsbench.results.suite_results import SuiteResults
from clsbench.schema.options import RunOptions
from clsbench.schema.suite import SuiteRow, SuiteSpec
from clsbench.suites.plan import plan_suite
from clsbench.suites.planned import SuitePlan
from clsbench.suites.run import run_suite
from clsbench.suites.run_locks import RunState

SMALL: dict[str, Any] = {
    "dataset": "synthetic-sms:texts=150",
    "backbone": "gpt2-nano:weights=random",
    "baselines": ["majority"],
    "data.padding": 16,
    "data.balance": False,
    "train.epochs": 1,
    "train.eval_batches": 1,
}


SUITE = SuiteSpec(
    name="small",
    base="gpt2-sms-spam",
    changes=SMALL,
    rows=(
        SuiteRow(label="1", title="the head", changes={"freezing": "head-only"}),
        SuiteRow(label="2", title="last block"),
        SuiteRow(label="3", title="the head again", changes={"freezing": "head-only"}),
    ),
)


class InProcess(Executor, frozen=True):
    """Runs every job in this process."""

    def execute(self, jobs: Sequence[Job], at_once: int | None, scheduler: Scheduler) -> None:
        for job in jobs:
            if scheduler.claim(job):
                scheduler.end(job, run_job(job, partial(scheduler.report, job)))


class RecordingObserver:
    """Records states and messages."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.messages: dict[str, list[Message]] = {}

    def planned(self, plan: SuitePlan) -> None:
        self.plan = plan

    def changed(self, key: str, state: RunState) -> None:
        self.seen.append((key, state.status))

    def received(self, key: str, message: Message) -> None:
        self.messages.setdefault(key, []).append(message)

    def statuses(self) -> list[str]:
        return [status for _, status in self.seen]


def plan(
    options: RunOptions,
    catalog: Catalog,
    spec: SuiteSpec = SUITE,
    seeds: Sequence[int] | int = 1,
    **for_all: Any,
) -> SuitePlan:
    return plan_suite(spec, spec.rows, for_all, seeds, options, catalog)


def run(
    planned: SuitePlan, options: RunOptions, force: bool = False
) -> tuple[SuiteResults, RecordingObserver]:
    observer = RecordingObserver()
    return run_suite(planned, InProcess(), options, None, observer, ["again"], force), observer
