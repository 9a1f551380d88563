"""Predictions from a stored run."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from small_runs import assert_predicts_what_is_stored, stored

import clsbench
from clsbench.builtin.backbones.gpt2_nano import GPT2Nano
from clsbench.components.catalog import load_catalog
from clsbench.experiment.predict import load_predictor
from clsbench.experiment.run import FinishedRun
from clsbench.results.predictions import read_predictions
from clsbench.results.store import StoredRun, write_record
from clsbench.schema.options import RunOptions


def test_load_predictor_predictions_equal_those_of_the_run(finished: FinishedRun) -> None:
    options = RunOptions(device="cpu", threads=1, offline=True)
    catalog = load_catalog()
    predictor = load_predictor(stored(finished), options, catalog)
    assert_predicts_what_is_stored(predictor, finished)
    assert predictor.predict([]).shape == (0, 2)
    odd = predictor.predict(["", "<|endoftext|>", "x" * 100_000])
    assert odd.sum(axis=1) == pytest.approx(1)


def test_predict_non_finite_logits_are_refused_with_the_text(finished: FinishedRun) -> None:
    options = RunOptions(device="cpu", threads=1, offline=True)
    predictor = load_predictor(stored(finished), options, load_catalog())
    tokenizer = GPT2Nano().tokenizer({})
    with torch.no_grad():
        embedding = predictor._restored.classifier.get_parameter("backbone.tok_emb.weight")
        embedding[tokenizer.encode("win")[0]] = float("nan")
    assert np.isfinite(predictor.predict(["see you"])).all()
    with pytest.raises(
        clsbench.ClsbenchError, match=r"text 12 \('win a prize'\) cannot be classified"
    ):
        predictor.predict(["see you", "win a prize", "win"], first=11)


def test_load_predictor_changed_classifier_file_is_refused(
    finished: FinishedRun, tmp_path: Path
) -> None:
    options = RunOptions(device="cpu", threads=1, offline=True)
    path = shutil.copytree(stored(finished), tmp_path / "run")
    file = path / "classifier.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(clsbench.UsageError, match=r"classifier\.safetensors is damaged: its cont"):
        load_predictor(path, options, load_catalog())
    file.unlink()
    with pytest.raises(
        clsbench.UsageError, match=r"classifier\.safetensors is missing from the run"
    ):
        load_predictor(path, options, load_catalog())


@pytest.mark.parametrize("length", [0, -1, 129, 10**9])
def test_load_predictor_invalid_max_length_is_refused(
    finished: FinishedRun, tmp_path: Path, length: int
) -> None:
    path = shutil.copytree(stored(finished), tmp_path / "run")
    record = finished.record
    assert record.data is not None
    data = msgspec.structs.replace(record.data, max_length=length)
    write_record(path, msgspec.structs.replace(record, data=data))
    with pytest.raises(clsbench.UsageError, match=f"its data.max_length is {length:,}"):
        load_predictor(path, RunOptions(threads=1, offline=True), load_catalog())


def test_load_predictor_run_without_file_hashes_is_read(
    finished: FinishedRun, tmp_path: Path
) -> None:
    """Earlier versions stored no hashes."""
    path = shutil.copytree(stored(finished), tmp_path / "run")
    record = msgspec.structs.replace(finished.record, files_sha256={})
    write_record(path, record)
    read_predictions(StoredRun(path, record))
    load_predictor(path, RunOptions(threads=1, offline=True), load_catalog())
