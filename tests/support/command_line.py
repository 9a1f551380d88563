"""The command lines under test, each call in a subprocess."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import TextIO

import pytest

Command = Callable[..., CompletedProcess[str]]


def clean_environment(caches: Path) -> dict[str, str]:
    """An environment without settings but ``--no-curves``, and with empty caches."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CLSBENCH_", "_CLSBENCH_"))}
    return {
        **kept,
        "CLSBENCH_CACHE": str(caches / "clsbench"),
        "HF_HUB_CACHE": str(caches / "hub"),
        "TIKTOKEN_CACHE_DIR": str(caches / "tiktoken"),
        "CLSBENCH_CURVES": "false",
        "OMP_NUM_THREADS": "1",
    }


def command(module: str, environment: dict[str, str], folder: Path) -> Command:
    """Calls of ``python -m module`` in ``folder``."""

    def run(
        *arguments: str | Path,
        env: dict[str, str] | None = None,
        text_in: str = "",
        timeout_seconds: float = 300,
    ) -> CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", module, *map(str, arguments)],
            input=text_in,
            capture_output=True,
            encoding="utf-8",
            env={**environment, **(env or {})},
            cwd=folder,
            timeout=timeout_seconds,
        )

    return run


def command_in_process(
    main: Callable[[list[str]], object], environment: dict[str, str], folder: Path
) -> Command:
    """Calls of ``main`` in ``folder`` in this process, which saves the start of Python.

    For commands that receive no signals. Output is that of a pipe.
    """

    def run(
        *arguments: str | Path,
        env: dict[str, str] | None = None,
        text_in: str = "",
    ) -> CompletedProcess[str]:
        words = [str(argument) for argument in arguments]
        output, errors = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
        settings = {**environment, "COLUMNS": "80", **(env or {})}
        code = call_in_process(main, words, settings, folder, output, errors, text_in)
        texts = [stream.seek(0) or stream.read() for stream in (output, errors)]
        return CompletedProcess(words, code, *texts)  # type: ignore[call-overload, no-any-return]

    return run


def call_in_process(
    main: Callable[[list[str]], object],
    words: list[str],
    environment: dict[str, str],
    folder: Path,
    output: TextIO,
    errors: TextIO,
    text_in: str,
) -> int:
    """Call ``main`` with these streams in place of the process's own; return the exit code."""
    code: object = None
    with pytest.MonkeyPatch.context() as patch, _logging_restored():
        patch.chdir(folder)
        for name in [name for name in os.environ if name not in environment]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["clsbench", *words])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text_in.encode())))
        patch.setattr(sys, "stdout", output)
        patch.setattr(sys, "stderr", errors)
        try:
            main(words)
        except SystemExit as ended:
            code = ended.code
    return code or 0  # type: ignore[return-value]


@contextmanager
def _logging_restored() -> Iterator[None]:
    """Undo what a command sets for its process."""
    root, own = logging.getLogger(), logging.getLogger("clsbench")
    handlers, levels = root.handlers[:], (root.level, own.level)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.handlers[:] = handlers
        root.setLevel(levels[0])
        own.setLevel(levels[1])
