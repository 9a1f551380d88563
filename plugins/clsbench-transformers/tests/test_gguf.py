"""GGUF files that cannot be used are refused, and leave nothing behind."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from clsbench_transformers import HF
from gguf import GGUFWriter

import clsbench


def written(path: Path, architecture: str) -> Path:
    """A GGUF file with a header and no tensors."""
    writer = GGUFWriter(path, architecture)
    writer.add_name("a model")
    writer.add_block_count(2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("architecture", ["mamba", "rwkv6"])
def test_gguf_of_another_architecture_is_refused(architecture: str, tmp_path: Path) -> None:
    file = written(tmp_path / "model.gguf", architecture)
    with pytest.raises(clsbench.UsageError) as caught:
        HF(gguf=str(file)).context_length()
    said = str(caught.value)
    assert said.startswith(f"backbone hf, gguf={file}: ")
    assert architecture in said
    assert "is not supported" in said
    assert not list((clsbench.cache_folder() / "converted").glob("*"))


def test_gguf_file_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"PK\x03\x04 not a model")
    with pytest.raises(clsbench.UsageError, match="it is not a GGUF file"):
        HF(gguf=str(tmp_path / "model.gguf")).context_length()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "it cannot be read: No such file"),
        (b"no model", "it is not a GGUF file"),
        (b"GGUF", "needs gguf and accelerate to read it; install: pip install gguf accelerate"),
    ],
)
def test_gguf_problem_of_the_file_is_named_before_absent_packages(
    content: bytes | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "distributions", lambda: ())
    if content is not None:
        (tmp_path / "model.gguf").write_bytes(content)
    with pytest.raises(clsbench.UsageError, match=said):
        HF(gguf=str(tmp_path / "model.gguf")).context_length()


def test_run_missing_gguf_file_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "clsbench", "run", "gpt2-sms-spam", "--dry-run"]
    done = subprocess.run(
        [*command, "--backbone", "hf:gguf=nothing.gguf"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "no such file: nothing.gguf" in done.stderr
