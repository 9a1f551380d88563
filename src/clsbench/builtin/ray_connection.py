"""Joining a Ray cluster, or starting one, without a word."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import clsbench
from clsbench.executors import Message

_SECONDS_TO_ANSWER = 5.0

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a task hides the GPUs that are not its own itself
    "RAY_worker_niceness": "0",  # by default 15: what is timed would give way to everything else
}
"""What Ray is told while it starts, and the processes of a cluster that is started here."""


class _Mailbox:
    """An actor beside the executor: keeps what the jobs say until it is fetched."""

    def __init__(self) -> None:
        self._kept: list[tuple[str, Message]] = []

    def put(self, key: str, message: Message) -> None:
        """The job ``key`` says something."""
        self._kept.append((key, message))

    def empty(self) -> list[tuple[str, Message]]:
        """What was said since the last time."""
        kept, self._kept = self._kept, []
        return kept


@contextlib.contextmanager
def joined(address: str, most_cpus: int) -> Iterator[Any]:
    """A mailbox in the cluster, to which this process belongs inside the block.

    Raises:
        UsageError: there is no such cluster.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    with contextlib.ExitStack() as stack:
        if not ray.is_initialized():
            stack.callback(ray.shutdown)
            with _heeding_signals_afterwards(), _quietly():
                _init(address, most_cpus)
        # It must outlive every node but this one.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(num_cpus=0, max_restarts=-1)(_Mailbox)
        mailbox = actor.options(scheduling_strategy=here).remote()
        stack.callback(ray.kill, mailbox)
        yield mailbox


def _init(address: str, most_cpus: int) -> None:
    import ray

    quiet = {"log_to_driver": False, "configure_logging": False, "logging_level": logging.ERROR}
    if not address:
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        cpus = max(usable, most_cpus)  # who asks for more threads than there are cores gets them
        ray.init("local", num_cpus=cpus, include_dashboard=False, **quiet)
        return
    if address != "auto":
        _refuse_silence(address)
    try:
        ray.init(address, **quiet)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        if "any running Ray instance" in str(error):
            raise clsbench.UsageError(
                "no Ray cluster runs on this machine: ray start --address=HOST:PORT makes it part "
                "of one, and without an address (--executor ray) one is started here"
            ) from None
        raise clsbench.UsageError(
            f"the Ray cluster {address} cannot be joined: {_first_line(error)}; this machine must "
            "belong to it (ray start --address=HOST:PORT), with the same versions of Ray and "
            "Python; a cluster with token authentication needs RAY_AUTH_MODE=token"
        ) from None


def _refuse_silence(address: str) -> None:
    """Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise clsbench.UsageError(
            f"no Ray cluster answers at {address}: {_first_line(error)}; ray start --head starts "
            "one, ray status shows where"
        ) from None


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Ray says nothing unless it fails, and tells nobody of its use."""
    logger = logging.getLogger("ray")
    level = logger.level
    environment = {key: os.environ.get(key) for key in _ENVIRONMENT}
    logger.setLevel(logging.ERROR)
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        for key, value in environment.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value
        logger.setLevel(level)


@contextlib.contextmanager
def _heeding_signals_afterwards() -> Iterator[None]:
    """Ctrl-C waits for the end of the block, since half a start of Ray crashes; a second does not.

    Ray answers SIGTERM by an exit of its own from now on: whoever heeds it hears of it as before.
    """
    at_interrupt, at_term = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupts: list[int] = []

    def wait(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        if len(interrupts) > 1:
            raise KeyboardInterrupt

    if at_interrupt is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, wait)
    terminated = False
    try:
        yield
    except SystemExit:
        terminated = True
    finally:
        signal.signal(signal.SIGINT, at_interrupt)
        signal.signal(signal.SIGTERM, at_term)
    if terminated:
        signal.raise_signal(signal.SIGTERM)
    if interrupts or terminated:
        raise KeyboardInterrupt
