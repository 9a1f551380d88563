"""Models of the hub come as assets, pinned by their revision."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from clsbench_transformers import HF
from miniatures import save_model

import clsbench
from clsbench import testing

NAME = "some-org/some-model"
REVISION = "0123456789abcdef0123456789abcdef01234567"
COMMAND = (sys.executable, "-m", "clsbench", "run", "gpt2-sms-spam")
BACKBONE = HF(model=NAME, revision=REVISION)


class Hub(SimpleHTTPRequestHandler):
    """Serves the files of one model as the hub does."""

    def translate_path(self, path: str) -> str:
        prefix = f"/{NAME}/resolve/{REVISION}/"
        name = path.removeprefix(prefix) if path.startswith(prefix) else "missing"
        return str(Path(self.directory) / name)

    def end_headers(self) -> None:
        self.send_header("X-Repo-Commit", REVISION)
        file = Path(self.translate_path(self.path))
        if file.is_file():
            self.send_header("ETag", f'"{hashlib.sha256(file.read_bytes()).hexdigest()}"')
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        """Write nothing."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_model(tmp_path / "model", "bert")


@pytest.fixture
def endpoint(folder: Path) -> Iterator[str]:
    """A hub on loopback that has the model."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def run(endpoint: str, tmp_path: Path, *arguments: str, name: str = NAME) -> Any:
    """A dry run in a process with caches of its own."""
    environment = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    environment |= {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(tmp_path / "hf"),
        "CLSBENCH_CACHE": str(tmp_path / "cache"),
    }
    backbone = f"hf:model={name},revision={REVISION}"
    options = ["--dataset", "synthetic-sms:texts=100", "--backbone", backbone, "--out", "runs"]
    settings = ["--pooling", "mean", "--set", "train.epochs=1", "--set", "baselines=[]"]
    return subprocess.run(
        [*COMMAND, "--json", *options, *settings, *arguments],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )


def test_run_hub_model_is_downloaded_pinned_and_found_offline(
    endpoint: str, folder: Path, tmp_path: Path
) -> None:
    dry = run(endpoint, tmp_path, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "not here yet, a run would fetch it: some-org/some-model/model.safetensors" in dry.stdout
    done = run(endpoint, tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["spec"]["backbone"]["revision"] == REVISION
    weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert record["assets"][f"{NAME}/model.safetensors"] == weights
    identity = next(each for each in record["plugins"] if each["axis"] == "backbone")
    assert identity["libraries"].keys() == {"transformers", "tokenizers"}
    offline = run("http://127.0.0.1:9", tmp_path, "--offline", "--set", "seed=1", "--dry-run")
    assert offline.returncode == 0, offline.stderr
    path = sorted((tmp_path / "runs").iterdir())[0]
    predicted = subprocess.run(
        [sys.executable, "-m", "clsbench", "predict", path.name, "a text", "--offline"],
        env={**os.environ, "HF_HOME": str(tmp_path / "hf")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert predicted.returncode == 0, predicted.stderr


def test_run_unknown_hub_model_is_refused(endpoint: str, tmp_path: Path) -> None:
    done = run(endpoint, tmp_path, "--dry-run", name="some-org/other")
    assert done.returncode == 3
    assert "some-org/other/config.json" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_run_hub_model_offline_and_absent_is_refused(tmp_path: Path) -> None:
    done = run("http://127.0.0.1:9", tmp_path, "--offline")
    assert done.returncode == 3
    assert "not found: some-org/some-model/config.json" in done.stderr
    assert "leave out --offline" in done.stderr


def test_assets_of_random_weights_are_config_and_tokenizer() -> None:
    names = ["config.json", "tokenizer.json", "tokenizer_config.json"]
    assert [asset.key for asset in BACKBONE.tokenizer_assets()] == [f"{NAME}/{n}" for n in names]
    random = HF(model=NAME, revision=REVISION, weights="random")
    assert random.assets() == BACKBONE.tokenizer_assets()
    assert not HF(model=NAME).assets()


def test_backbone_of_the_hub_conforms(folder: Path) -> None:
    files = {asset.key: folder / Path(asset.key).name for asset in BACKBONE.assets()}
    testing.check_backbone(BACKBONE, files)


def test_backbone_of_the_hub_without_weights_among_its_files_is_refused(folder: Path) -> None:
    backbone = HF(model=NAME, revision=REVISION, files=("config.json", "tokenizer.json"))
    files = {asset.key: folder / Path(asset.key).name for asset in backbone.assets()}
    with pytest.raises(clsbench.UsageError, match="has no weights"):
        backbone.with_files(files).build(files)


@pytest.mark.parametrize("revision", ["main", "v1.0", REVISION[:12]])
def test_revision_other_than_a_commit_is_refused(revision: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--dry-run", "--backbone", f"hf:model={NAME},revision={revision}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "revision" in done.stderr


def test_revision_of_a_folder_is_refused() -> None:
    with pytest.raises(ValueError, match="expected model=ORGANISATION/NAME of the hub"):
        HF(model="./folder", revision=REVISION)
