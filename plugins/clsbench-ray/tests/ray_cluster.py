"""A Ray cluster of two nodes with one CPU each, on this machine."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

STARTED = "Ray runtime started."

HEALTH_CHECKS = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
}
"""Declare a node dead after seconds instead of half a minute."""


class Node:
    """A node started by ``ray start``; it ends with this process."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "start", *arguments),
                *("--num-cpus=1", "--object-store-memory=100000000"),
                *("--disable-usage-stats", "--block"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **HEALTH_CHECKS},
        )
        assert self.process.stdout is not None
        output = []
        for line in self.process.stdout:
            output.append(line)
            if STARTED in line:
                return
        raise RuntimeError("".join(output))

    def workers(self, name: str) -> list[psutil.Process]:
        """Its processes that run a task whose name starts with ``name``."""
        return [p for p in self.processes() if title(p).startswith(f"ray::{name}")]

    def processes(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def kill(self) -> None:
        """Kill all its processes, as a power failure would."""
        for process in (*self.processes(), self.process):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()


def title(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


class TwoNodes:
    """A head node with a declared GPU, which processes here join, and a second node."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        self.head = Node(
            *("--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={folder}"),
            "--num-gpus=1",
        )
        self.second = self._another()

    def _another(self) -> Node:
        return Node(f"--address={self.address}", "--node-ip-address=127.0.0.2", "--num-gpus=0")

    def replace_second(self) -> None:
        """Start another second node after the first was killed."""
        self.second = self._another()


@contextlib.contextmanager
def two_nodes() -> Iterator[TwoNodes]:
    # The paths of pytest's tmp_path are too long for a socket.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as name:
        cluster = TwoNodes(Path(name))
        try:
            yield cluster
        finally:
            cluster.second.kill()
            cluster.head.kill()


def survivors(processes: list[psutil.Process], seconds: float = 300) -> list[str]:
    """The processes that are still alive after ``seconds``."""
    until = time.monotonic() + seconds
    while True:
        alive = [p for p in processes if p.is_running() and status(p) != psutil.STATUS_ZOMBIE]
        if not alive or time.monotonic() > until:
            return [f"{p.pid} {title(p)}" for p in alive]
        time.sleep(0.1)


def status(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        return str(process.status())
    return psutil.STATUS_ZOMBIE


def without_authentication_settings(environment: dict[str, str], home: Path) -> dict[str, str]:
    """The environment of a user without any settings of Ray."""
    kept = {k: v for k, v in environment.items() if not k.startswith("RAY_")}
    return {**kept, "HOME": os.fspath(home)}
