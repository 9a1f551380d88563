"""The executor ``ray``: tasks of a Ray cluster, which is started here or is running already."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

import clsbench
from clsbench import executors
from clsbench.builtin.ray_connection import joined
from clsbench.executors import Job, JobEnd, JobNote, JobResult, Message, Scheduler

_SECONDS_BETWEEN_LOOKS = 0.2
_SECONDS_FOR_LAST_WORDS = 5.0
"""How long a job that has ended waits for its messages to arrive."""

_GRACE_SECONDS = 60.0
"""How long an interrupted job may take to store what it has learned."""


class Ray(clsbench.Executor, frozen=True):
    """Tasks of a Ray cluster, each with the CPUs and GPUs it needs; a dead worker's go elsewhere.

    Every machine of the cluster needs clsbench, the same plugins installed (plugin files travel
    with the job), and data and weights under the same paths: an assets folder, where one is given,
    and a csv file of the user's. The store is needed here alone. Rows are planned on this machine:
    to have them trained on the cluster's GPUs, begin the suite on a machine that has one.
    """

    address: Annotated[
        str,
        Meta(
            pattern=r"^(auto|[^/\s]+:[0-9]{1,5})?\Z",
            description="the cluster to join: auto (the one that runs on this machine) or "
            "HOST:PORT; empty: one is started on this machine and ended afterwards",
        ),
    ] = ""
    retries: Annotated[
        int,
        Meta(ge=0, description="how often a run is begun again after its worker or node has died"),
    ] = 3

    def check_available(self) -> None:
        """Ray is an extra.

        Raises:
            UsageError: it is not installed.
        """
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise clsbench.UsageError(
                f"the executor ray needs Ray, which is not installed here ({error}): "
                "pip install 'clsbench[ray]'"
            ) from None

    def execute(self, jobs: Sequence[Job], at_once: int | None, scheduler: Scheduler) -> None:
        """Do the jobs in their order, ``at_once`` (as many as there is room for) at a time."""
        self.check_available()
        waiting = deque(jobs)
        with _Tasks(self, max((job.cpus for job in jobs), default=1), scheduler) as tasks:
            while waiting or tasks.running:
                while waiting and len(tasks.running) < (at_once or tasks.room(waiting[0])):
                    job = waiting.popleft()
                    if scheduler.claim(job):
                        tasks.begin(job)
                if tasks.running:
                    tasks.attend()


class _Task(NamedTuple):
    """A job under way, and how often the process that did it has died."""

    job: Job
    deaths: int


class _Tasks:
    """The jobs under way, by the reference of their result. Joins the cluster for the first."""

    def __init__(self, executor: Ray, most_cpus: int, scheduler: Scheduler) -> None:
        self.running: dict[Any, _Task] = {}
        self._executor = executor
        self._most_cpus = most_cpus
        self._scheduler = scheduler
        self._interrupted = False
        self._mailbox: Any = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> _Tasks:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._stack:
            if error is not None:
                self._interrupt()

    def room(self, job: Job) -> int:
        """How many such jobs the nodes of the cluster hold at once: one at least."""
        return max(sum(_holds(node, job) for node in self._nodes()), 1)

    def begin(self, job: Job) -> None:
        """Hand the job to Ray; the scheduler hears of its end, whatever happens here."""
        try:
            if self._mailbox is None:
                self._mailbox = self._stack.enter_context(
                    joined(self._executor.address, self._most_cpus)
                )
            if not any(_holds(node, job) for node in self._nodes()):
                self._tell_that_none_holds(job)
            self._submit(executors.portable_job(job), deaths=0)
        except BaseException as error:
            told = str(error) or _NOTHING.error
            self._scheduler.end(job, JobEnd(status="interrupted", error=told))
            raise

    def attend(self) -> None:
        """Wait a moment; hand on what the jobs say, and the ends of those that have ended."""
        import ray

        ended, _ = ray.wait(list(self.running), timeout=_SECONDS_BETWEEN_LOOKS)
        self._hand_on()
        for reference in ended:
            self._end(reference)

    def _submit(self, job: Job, deaths: int) -> None:
        import ray

        # A process of its own for each: nothing is left in it of the job before.
        task = ray.remote(max_calls=1, max_retries=0)(_perform)
        task = task.options(num_cpus=job.cpus, num_gpus=job.gpus, name=f"clsbench {job.key}")
        self.running[task.remote(job, os.getcwd(), self._mailbox)] = _Task(job, deaths)

    def _hand_on(self) -> None:
        import ray

        jobs = {task.job.key: task.job for task in self.running.values()}
        with contextlib.suppress(ray.exceptions.RayActorError):  # it died, and is started again
            for key, message in ray.get(self._mailbox.empty.remote()):
                if key in jobs:
                    self._scheduler.report(jobs[key], message)

    def _end(self, reference: Any) -> None:
        """Report how the job has ended, or start it again if its process has died."""
        import ray

        job, deaths = self.running[reference]
        died = (
            ray.exceptions.WorkerCrashedError,
            ray.exceptions.NodeDiedError,
            ray.exceptions.OutOfMemoryError,
            ray.exceptions.ObjectLostError,
        )
        try:
            end = _told(job, *ray.get(reference))
        except died as error:
            how = _HOW_IT_DIED.get(type(error).__name__, "its worker died")
            if deaths < self._executor.retries and not self._interrupted:
                again = f"{how}; it is begun again ({deaths + 1} of {self._executor.retries})"
                self._scheduler.report(job, JobNote(text=again))
                self._submit(job, deaths + 1)
                del self.running[reference]
                return
            times = f", {deaths + 1} times" if deaths else ""
            end = JobEnd(status="failed", error=f"{how}{times}")
        except ray.exceptions.TaskCancelledError:
            end = _NOTHING
        except ray.exceptions.RayError as error:
            last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            end = JobEnd(status="failed", error=f"Ray could not do it: {last[0].strip()}")
        if self._interrupted and end.status == "failed" and end.run is None:
            end = _NOTHING  # an import that is interrupted may fail in any way
        del self.running[reference]
        self._scheduler.end(job, end)

    def _interrupt(self) -> None:
        """Have every job store what it has learned; what takes too long is ended by force."""
        import ray

        self._interrupted = True
        until = time.monotonic() + _GRACE_SECONDS
        with contextlib.suppress(KeyboardInterrupt, ray.exceptions.RayError):
            for reference in self.running:
                ray.cancel(reference, recursive=False)
            while self.running and (seconds := until - time.monotonic()) > 0:
                ended, _ = ray.wait(list(self.running), timeout=seconds)
                for reference in ended:
                    self._end(reference)
        while self.running:
            reference, task = self.running.popitem()
            with contextlib.suppress(ray.exceptions.RayError):
                ray.cancel(reference, force=True, recursive=False)
            self._scheduler.end(task.job, _NOTHING)

    def _nodes(self) -> list[dict[str, float]]:
        """The resources of every node that is alive; none before the cluster is joined."""
        if self._mailbox is None:
            return []
        import ray

        return [node["Resources"] for node in ray.nodes() if node["Alive"]]

    def _tell_that_none_holds(self, job: Job) -> None:
        most = max((node.get("CPU", 0) for node in self._nodes()), default=0)
        needs = f"{job.cpus} CPUs" + (f" and {job.gpus} GPU" if job.gpus else "")
        told = f"no node of the Ray cluster has the {needs} it needs; the largest has {most:g} CPUs"
        if not self._executor.address:
            raise clsbench.UsageError(f"{told}; --threads and --device say what it needs")
        self._scheduler.report(job, JobNote(text=f"{told}; waiting for one that has"))


_NOTHING = JobEnd(status="interrupted", error="interrupted; nothing of it is stored")

_HOW_IT_DIED = {
    "NodeDiedError": "its node died",
    "OutOfMemoryError": "it was ended for want of memory",
    "WorkerCrashedError": "its worker died (out of memory?)",
}


def _holds(resources: Mapping[str, float], job: Job) -> int:
    """How many such jobs a node with these resources does at once."""
    rooms = [resources.get("CPU", 0) // job.cpus]
    if job.gpus:
        rooms.append(resources.get("GPU", 0) // job.gpus)
    return int(min(rooms))


# --- where a job is done --------------------------------------------------------------------------


def _perform(job: Job, folder: str, mailbox: Any) -> tuple[str, JobResult]:
    """The task: the host that did the job, and what came of it."""
    import ray

    # Ray cancels a task by what Ctrl-C does, which a process in the background may ignore.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.suppress(OSError):  # another machine may not have it
        os.chdir(folder)
    if not job.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif str(job.options["device"]).startswith("cuda"):  # Ray shows it the one that it may use
        job = msgspec.structs.replace(job, options={**job.options, "device": "cuda"})
    last: list[Any] = []

    def tell(message: Message) -> None:
        last[:] = [mailbox.put.remote(job.key, message)]

    result = executors.run_job_remote(job, tell)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # too late for that: it is done
    ray.wait(last, timeout=_SECONDS_FOR_LAST_WORDS)
    return socket.gethostname(), result


def _told(job: Job, host: str, result: JobResult) -> JobEnd:
    end = executors.store_result(job, result)
    if end.status == "failed" and host != socket.gethostname():
        end = msgspec.structs.replace(end, error=f"on {host}: {end.error}")
    return end


@clsbench.hookimpl
def clsbench_register_executors() -> Mapping[str, type[clsbench.Executor]]:
    """Register ``ray``."""
    return {"ray": Ray}
