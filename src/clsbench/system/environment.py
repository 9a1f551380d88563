"""The device to run on, and the facts about this machine that a record keeps."""

from __future__ import annotations

import logging
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from clsbench.errors import UsageError
from clsbench.schema.options import RunOptions
from clsbench.schema.record import Environment
from clsbench.system.seeding import torch_generators_restored

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


def choose_device(name: str, precision: str) -> torch.device:
    """The torch device for ``--device``.

    Raises:
        UsageError: the device is not there, or cannot compute in this precision.
    """
    import torch

    if name == "auto":
        name = (
            "cuda"
            if torch.cuda.is_available()
            else "mps"
            if torch.backends.mps.is_available() and precision != "fp64"
            else "cpu"
        )
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise UsageError(f"device {name}: {no_cuda_device()}, or use --device cpu")
        if (device.index or 0) >= count:
            devices = "is one CUDA device: cuda:0"
            if count > 1:
                devices = f"are {count} CUDA devices: cuda:0 to cuda:{count - 1}"
            raise UsageError(f"device {name}: there {devices}")
    if device.type == "mps":
        if not torch.backends.mps.is_available():
            raise UsageError(
                f"device {name}: this machine has no Apple GPU; use --device cpu or auto"
            )
        if precision == "fp64":
            raise UsageError("device mps cannot compute in fp64; use --device cpu")
    return device


def no_cuda_device() -> str:
    """Why torch finds no CUDA device, and what to install or check."""
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return (
            f"torch {torch.__version__} is a build without CUDA; install one with CUDA "
            "(https://pytorch.org/get-started/locally)"
        )
    return (
        f"torch {torch.__version__} finds no CUDA device here; check the driver (nvidia-smi) and "
        "CUDA_VISIBLE_DEVICES"
    )


@contextmanager
def circumstances(options: RunOptions) -> Iterator[None]:
    """Apply threads, precision and determinism; put everything back afterwards.

    The states of the global random generators (Python's, NumPy's, torch's on every device) are
    restored too.

    Raises:
        UsageError: more threads are asked for than any machine of this size has a use for.
    """
    import random

    import numpy as np
    import torch

    _refuse_too_many_threads(options.threads)
    threads = torch.get_num_threads()
    default_dtype = torch.get_default_dtype()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch_generators_restored():
        try:
            if options.threads is not None:
                torch.set_num_threads(options.threads)
            if options.precision == "fp64":
                torch.set_default_dtype(torch.float64)
            if options.deterministic:
                os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
                torch.use_deterministic_algorithms(True)
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_default_dtype(default_dtype)
            if options.deterministic:  # the call imports torch._inductor, which takes a second
                torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
            if workspace is None:
                os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def _refuse_too_many_threads(threads: int | None) -> None:
    """Refuse a number of threads that would bring the machine to a standstill."""
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    most = max(64, 4 * usable)
    if threads is not None and threads > most:
        raise UsageError(
            f"threads = {threads}: expected at most {most}; this machine has {usable} usable "
            "processors, and more threads are not faster"
        )


def describe_environment(device: torch.device, options: RunOptions) -> Environment:
    """The facts about this process and machine, as they are inside :func:`circumstances`."""
    import psutil
    import torch

    cuda = torch.cuda.is_available()
    cpu = cpu_name()
    return Environment(
        device=str(device),
        device_name=torch.cuda.get_device_name(device) if device.type == "cuda" else cpu,
        precision=options.precision,
        threads=torch.get_num_threads(),
        deterministic=options.deterministic,
        clsbench=metadata.version("clsbench"),
        python=platform.python_version(),
        torch=str(torch.__version__),  # a subclass of str that JSON does not know
        platform=platform.platform(),
        cpu=cpu,
        cpu_count=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        gpus=tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        if cuda
        else (),
        cuda=torch.version.cuda if cuda else None,
        git_commit=git_commit(),
    )


def working_directory() -> str | None:
    """The working directory, ``None`` if it has been removed."""
    try:
        return os.getcwd()
    except OSError:
        return None


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # no /proc on this system
    return platform.processor() or platform.machine()


def git_commit() -> str | None:
    """The commit of the checkout that this package lies in (``-dirty`` if changed), or ``None``."""
    package = Path(__file__).parent
    command = ["git", "-C", str(package), "describe", "--always", "--dirty", "--abbrev=40"]
    tracked = ["git", "-C", str(package), "ls-files", "--error-unmatch", Path(__file__).name]
    try:
        subprocess.run(tracked, capture_output=True, check=True, timeout=5)
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def free_memory_bytes(device: torch.device) -> int:
    """Memory that is free now: of the device on CUDA, of the machine elsewhere."""
    import psutil
    import torch

    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    return int(psutil.virtual_memory().available)


def peak_memory_bytes(device: torch.device) -> int | None:
    """Peak memory so far: of the allocator on CUDA, resident memory of the process elsewhere.

    ``None`` if it cannot be read, for example because the device has failed.
    """
    import torch

    if device.type == "cuda":
        try:
            return torch.cuda.max_memory_allocated(device)
        except RuntimeError as error:
            logger.debug("the peak memory of %s cannot be read: %s", device, error)
            return None
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
