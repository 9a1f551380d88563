"""The executor ``ray``: runs jobs as tasks of a Ray cluster, started here or already running."""

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
from clsbench.executors import Executor, Job, JobEnd, JobNote, JobResult, Message, Scheduler
from clsbench_ray.connection import joined

_POLL_SECONDS = 0.2
_LAST_MESSAGE_SECONDS = 5.0
"""How long a finished job waits for the delivery of its last message."""

_GRACE_SECONDS = 60.0
"""How long an interrupted job may take to return its partial results."""


class Ray(Executor, frozen=True):
    """Tasks of a Ray cluster, each with the CPUs and GPUs that it needs.

    If a worker or a node dies, its jobs run again on another one. Every machine of the cluster
    needs clsbench-ray, the same installed plugins (plugin files are sent with the job), and data
    and weights under the same paths: the assets folder, if one is given, and the user's csv files.
    Only this machine needs the store. The rows are planned on this machine: to train them on the
    cluster's GPUs, start the suite on a machine that has a GPU.
    """

    address: Annotated[
        str,
        Meta(
            pattern=r"^(auto|[^/\s]+:[0-9]{1,5})?\Z",
            description="the cluster to join: auto (the one that this machine belongs to) or "
            "HOST:PORT; empty: start one on this machine and stop it afterwards",
        ),
    ] = ""
    retries: Annotated[
        int,
        Meta(ge=0, description="how often to repeat a run whose worker or node has died"),
    ] = 3

    def check_available(self) -> None:
        """Check that Ray can be imported.

        Raises:
            UsageError: it cannot.
        """
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise clsbench.UsageError(
                f"executor ray: Ray cannot be imported ({error}); reinstall it: "
                "pip install 'ray>=2.52,<3'"
            ) from None

    def execute(self, jobs: Sequence[Job], at_once: int | None, scheduler: Scheduler) -> None:
        """Run the jobs in order, ``at_once`` (by default as many as fit) side by side."""
        waiting = deque(jobs)
        with _Tasks(self, max((job.cpus for job in jobs), default=1), scheduler) as tasks:
            while waiting or tasks.running:
                while waiting and len(tasks.running) < (at_once or tasks.room(waiting[0])):
                    job = waiting.popleft()
                    if scheduler.claim(job):
                        tasks.start(job)
                if tasks.running:
                    tasks.poll()


class _Task(NamedTuple):
    """A running job, and how often its worker has died."""

    job: Job
    deaths: int


class _Tasks:
    """The running jobs by the reference to their results. The first job joins the cluster."""

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
        """How many such jobs the nodes of the cluster can run at once, at least 1."""
        return max(sum(_holds(node, job) for node in self._nodes()), 1)

    def start(self, job: Job) -> None:
        """Submit the job to Ray; if that fails, end it as interrupted and raise the error."""
        try:
            if self._mailbox is None:
                self._mailbox = self._stack.enter_context(
                    joined(self._executor.address, self._most_cpus)
                )
            if not any(_holds(node, job) for node in self._nodes()):
                self._report_too_small(job)
            self._submit(executors.portable_job(job), deaths=0)
        except BaseException as error:
            reason = str(error) or _NOTHING_STORED.error
            self._scheduler.end(job, JobEnd(status="interrupted", error=reason))
            raise

    def poll(self) -> None:
        """Wait a moment; report the messages of the jobs, and the jobs that have ended."""
        import ray

        ended, _ = ray.wait(list(self.running), timeout=_POLL_SECONDS)
        self._report_messages()
        for reference in ended:
            self._end(reference)

    def _submit(self, job: Job, deaths: int) -> None:
        import ray

        # Each job gets a new process, so that it inherits no state from another job.
        task = ray.remote(max_calls=1, max_retries=0)(_perform)
        task = task.options(num_cpus=job.cpus, num_gpus=job.gpus, name=f"clsbench {job.key}")
        self.running[task.remote(job, os.getcwd(), self._mailbox)] = _Task(job, deaths)

    def _report_messages(self) -> None:
        import ray

        jobs = {task.job.key: task.job for task in self.running.values()}
        with contextlib.suppress(ray.exceptions.RayActorError):  # it has died; Ray restarts it
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
            end = _stored(job, *ray.get(reference))
        except died as error:
            how = _HOW_IT_DIED.get(type(error).__name__, "its worker died")
            if deaths < self._executor.retries and not self._interrupted:
                note = f"{how}; it runs again (retry {deaths + 1} of {self._executor.retries})"
                self._scheduler.report(job, JobNote(text=note))
                self._submit(job, deaths + 1)
                del self.running[reference]
                return
            times = f", {deaths + 1} times" if deaths else ""
            end = JobEnd(status="failed", error=f"{how}{times}")
        except ray.exceptions.TaskCancelledError:
            end = _NOTHING_STORED
        except ray.exceptions.RayError as error:
            last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            end = JobEnd(status="failed", error=f"Ray could not run it: {last[0].strip()}")
        if self._interrupted and end.status == "failed" and end.run is None:
            end = _NOTHING_STORED  # an interrupted import may fail in any way
        del self.running[reference]
        self._scheduler.end(job, end)

    def _interrupt(self) -> None:
        """Ask every job for its partial results; kill the jobs that take too long."""
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
            self._scheduler.end(task.job, _NOTHING_STORED)

    def _nodes(self) -> list[dict[str, float]]:
        """The resources of every live node; empty before the cluster is joined."""
        if self._mailbox is None:
            return []
        import ray

        return [node["Resources"] for node in ray.nodes() if node["Alive"]]

    def _report_too_small(self, job: Job) -> None:
        most = max((node.get("CPU", 0) for node in self._nodes()), default=0)
        needs = f"{job.cpus} CPUs" + (f" and {job.gpus} GPU" if job.gpus else "")
        problem = f"no node of the Ray cluster has {needs}; the largest has {most:g} CPUs"
        if not self._executor.address:
            raise clsbench.UsageError(f"{problem}; request less by --threads or --device")
        self._scheduler.report(job, JobNote(text=f"{problem}; waiting for a larger node"))


_NOTHING_STORED = JobEnd(status="interrupted", error="interrupted; nothing was stored")

_HOW_IT_DIED = {
    "NodeDiedError": "its node died",
    "OutOfMemoryError": "it was killed because memory ran out",
    "WorkerCrashedError": "its worker died (out of memory?)",
}


def _holds(resources: Mapping[str, float], job: Job) -> int:
    """How many such jobs a node with these resources can run at once."""
    rooms = [resources.get("CPU", 0) // job.cpus]
    if job.gpus:
        rooms.append(resources.get("GPU", 0) // job.gpus)
    return int(min(rooms))


# --- in the worker --------------------------------------------------------------------------------


def _perform(job: Job, folder: str, mailbox: Any) -> tuple[str, JobResult]:
    """The task: run the job, and return the host name and the result."""
    import ray

    # Ray cancels a task by SIGINT, which a background process may ignore.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.suppress(OSError):  # another machine may not have the folder
        os.chdir(folder)
    if not job.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif str(job.options["device"]).startswith("cuda"):  # Ray makes only the reserved GPU visible
        job = msgspec.structs.replace(job, options={**job.options, "device": "cuda"})
    last: list[Any] = []

    def send(message: Message) -> None:
        last[:] = [mailbox.put.remote(job.key, message)]

    result = executors.run_job_remote(job, send)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # too late to cancel: the job is done
    ray.wait(last, timeout=_LAST_MESSAGE_SECONDS)
    return socket.gethostname(), result


def _stored(job: Job, host: str, result: JobResult) -> JobEnd:
    end = executors.store_result(job, result)
    if end.status == "failed" and host != socket.gethostname():
        end = msgspec.structs.replace(end, error=f"on {host}: {end.error}")
    return end


@clsbench.hookimpl
def clsbench_register_executors() -> Mapping[str, type[Executor]]:
    """Register ``ray``."""
    return {"ray": Ray}
