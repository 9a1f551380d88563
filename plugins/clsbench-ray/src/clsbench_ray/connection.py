"""Join a Ray cluster, or start one, without any output of Ray."""

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

_CONNECT_SECONDS = 5.0

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the task itself hides the GPUs of others
    "RAY_worker_niceness": "0",  # the default, 15, would distort timings
}
"""Settings for Ray while it starts, and for the processes of a cluster that is started here."""


class _Mailbox:
    """An actor on the executor's node; keeps the jobs' messages until they are fetched."""

    def __init__(self) -> None:
        self._kept: list[tuple[str, Message]] = []

    def put(self, key: str, message: Message) -> None:
        """Add a message of the job ``key``."""
        self._kept.append((key, message))

    def empty(self) -> list[tuple[str, Message]]:
        """Return and remove the messages."""
        kept, self._kept = self._kept, []
        return kept


@contextlib.contextmanager
def joined(address: str, most_cpus: int) -> Iterator[Any]:
    """Join the cluster inside the block; yields a mailbox in it.

    Raises:
        UsageError: the cluster cannot be reached or joined.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    with contextlib.ExitStack() as stack:
        if not ray.is_initialized():
            stack.callback(ray.shutdown)
            with _deferring_signals(), _quietly():
                _init(address, most_cpus)
        # On this node, so that the loss of another node does not affect it.
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
        cpus = max(usable, most_cpus)  # --threads may exceed the number of cores
        ray.init("local", num_cpus=cpus, include_dashboard=False, **quiet)
        return
    if address != "auto":
        _check_reachable(address)
    try:
        ray.init(address, **quiet)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        if "any running Ray instance" in str(error):
            raise clsbench.UsageError(
                "this machine does not belong to a Ray cluster; join one by ray start "
                "--address=HOST:PORT, or omit the address (--executor ray) to start one here"
            ) from None
        raise clsbench.UsageError(
            f"cannot join the Ray cluster {address}: {_first_line(error)}; this machine must "
            "belong to it (ray start --address=HOST:PORT) and have the same versions of Ray and "
            "Python; if the cluster uses token authentication, set RAY_AUTH_MODE=token"
        ) from None


def _check_reachable(address: str) -> None:
    """Fail at once if nothing listens there; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise clsbench.UsageError(
            f"no Ray cluster answers at {address}: {_first_line(error)}; start one by ray start "
            "--head, or find its address by ray status"
        ) from None


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Silence Ray unless it fails, and disable its usage statistics."""
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
def _deferring_signals() -> Iterator[None]:
    """Defer Ctrl-C to the end of the block, since Ray crashes if its start is interrupted.

    A second Ctrl-C interrupts at once. Ray replaces the handler of SIGTERM; this restores it.
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
