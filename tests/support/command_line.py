"""The command lines under test, each call in a subprocess."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

Command = Callable[..., CompletedProcess[str]]


def clean_environment(caches: Path) -> dict[str, str]:
    """An environment without settings and with empty caches."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CLSBENCH_", "_CLSBENCH_"))}
    return {
        **kept,
        "CLSBENCH_CACHE": str(caches / "clsbench"),
        "HF_HUB_CACHE": str(caches / "hub"),
        "TIKTOKEN_CACHE_DIR": str(caches / "tiktoken"),
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
