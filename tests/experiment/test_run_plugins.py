"""Runs with plugins that fail or hold state that a run cannot use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_runs import SMALL, assert_predicts_what_is_stored, stored

import clsbench
from clsbench.components.catalog import Catalog, load_catalog
from clsbench.components.resolve import find_spec, resolve
from clsbench.experiment.predict import load_predictor
from clsbench.experiment.run import FinishedRun, run_experiment
from clsbench.schema.options import RunOptions
from clsbench.schema.record import RunRecord

PLUGIN = """
import clsbench

class Estimator:
    def __init__(self, fault):
        self.fault = fault

    def fit(self, texts, labels):
        if self.fault == "fit":
            raise ValueError("no vocabulary")

    def predict(self, texts):
        match self.fault:
            case "words":
                return ["ham"] * len(texts)
            case "short":
                return [0] * (len(texts) - 1)
            case "range":
                return [*[0] * (len(texts) - 1), 2]
            case "half":
                return [0.5] * len(texts)
            case "nothing":
                return None
        return [1.0] * len(texts)

class Faulty(clsbench.Baseline):
    "A baseline with a fault to choose."

    fault: str = ""

    def build(self, seed):
        if self.fault == "build":
            raise KeyError("option")
        return Estimator(self.fault)

class NotANumber(clsbench.Pooling):
    "A pooling that returns nan."

    def build(self, hidden_size):
        import torch

        class Dividing(torch.nn.Module):
            def forward(self, hidden, lengths):
                return hidden[:, 0] * float("nan")

        return Dividing()

    def reads_padding(self):
        return False

TABLES = {}

class KeepsATable(clsbench.Pooling):
    "A pooling that keeps a table in its module."

    def build(self, hidden_size):
        import torch

        class Adding(torch.nn.Module):
            def forward(self, hidden, lengths):
                if "table" not in TABLES:
                    TABLES["table"] = torch.zeros(hidden_size)
                return hidden[:, 0] + TABLES["table"].to(hidden.device)

        return Adding()

    def reads_padding(self):
        return False

class ThreeAxes(clsbench.Adapter):
    "Expects texts, positions and features, though a block may be given fewer."

    def apply(self, classifier):
        def scale(module, inputs, out):
            texts, positions, features = out.shape
            return out * 0.5

        classifier.backbone.trf_blocks[-1].ff.register_forward_hook(scale)

class FixedWidth(clsbench.Adapter):
    "Accepts only texts of the padded length."

    def apply(self, classifier):
        def check(module, inputs, out):
            if out.dim() == 3 and out.shape[1] not in (1, 24):
                raise ValueError(f"expected 24 positions, got {out.shape[1]}")

        classifier.backbone.tok_emb.register_forward_hook(check)

class OwnState(clsbench.Adapter):
    "A module with a state that is not a tensor."

    def apply(self, classifier):
        import torch

        class Extra(torch.nn.Module):
            def get_extra_state(self):
                return "anything"

        classifier.backbone.extra = Extra()

class SharedMask(clsbench.Adapter):
    "One causal mask in every block, a view of it in the first."

    def apply(self, classifier):
        import torch

        mask = torch.ones(24, 24).tril()
        for block in classifier.backbone.trf_blocks:
            block.register_buffer("causal_mask", mask)
        classifier.backbone.trf_blocks[0].register_buffer("first_row", mask[0])

class NotFinite(clsbench.Adapter):
    "The embedding of a token that no text has, or a parameter that is used only while training."

    where: str = "backbone"

    def apply(self, classifier):
        import torch

        if self.where == "backbone":
            with torch.no_grad():
                classifier.backbone.tok_emb.weight[7, :3] = float("nan")
            return
        classifier.spare = torch.nn.Parameter(torch.zeros(3))

        def overflow(module, inputs):
            if module.training:
                classifier.spare.data[1] = float("inf")

        classifier.out_head.register_forward_pre_hook(overflow)

@clsbench.hookimpl
def clsbench_register_adapters():
    return {
        "three-axes": ThreeAxes, "fixed-width": FixedWidth, "own-state": OwnState,
        "shared-mask": SharedMask, "not-finite": NotFinite,
    }

@clsbench.hookimpl
def clsbench_register_baselines():
    return {"faulty": Faulty}

@clsbench.hookimpl
def clsbench_register_poolings():
    return {"not-a-number": NotANumber, "keeps-a-table": KeepsATable}
"""


def run_with_plugin(folder: Path, plain: bool = False, **changes: Any) -> RunRecord:
    return finish_with_plugin(folder, plain, **changes)[0].record


def finish_with_plugin(
    folder: Path, plain: bool = False, **changes: Any
) -> tuple[FinishedRun, Catalog]:
    plugin = folder / "faulty.py"
    plugin.write_text(PLUGIN)
    catalog = load_catalog([str(plugin)])
    few = {"dataset": "synthetic-sms:texts=100", "data.split": "stratified", "train.epochs": 1}
    small = SMALL | few | changes
    spec = resolve(find_spec("gpt2-sms-spam", catalog), small, catalog)
    options = RunOptions(
        out=folder / "runs", device="cpu", threads=1, offline=True, curves=False, plain=plain
    )
    return run_experiment(spec, options, catalog), catalog


def test_run_failing_baseline_is_recorded_as_warning(tmp_path: Path) -> None:
    said = {
        "build": "failed: KeyError: 'option'",
        "fit": "failed: ValueError: no vocabulary",
        "words": "predict() returns 'ham', expected labels as numbers",
        "short": "predict() returns the shape (69,) for 70 texts",
        "range": "predict() returns the label 2, expected 0 to 1",
        "half": "predict() returns the label 0.5, expected 0 to 1",
        "nothing": "predict() returns the shape () for 70 texts",
    }
    faulty = tuple(f"faulty:fault={fault}" for fault in said)
    record = run_with_plugin(tmp_path, baselines=("majority", *faulty, "faulty"))
    assert record.status == "finished"
    assert record.metrics is not None
    assert [b.component for b in record.baselines] == ["majority", "faulty"]
    assert len(record.warnings) == len(said)
    for fault, warning in zip(said, record.warnings, strict=True):
        assert warning.startswith(f"baseline faulty:fault={fault}")
        assert said[fault] in warning


@pytest.mark.parametrize(
    ("adapter", "shown"),
    [
        ("fixed-width", "expected 24 positions"),
        pytest.param("three-axes", "not enough values to unpack", marks=pytest.mark.slow),
    ],
)
def test_run_incompatible_adapter_disables_only_packing(
    tmp_path: Path, adapter: str, shown: str
) -> None:
    record = run_with_plugin(tmp_path, adapter=adapter, pooling="last-real-token")
    assert record.status == "finished", record.error
    assert record.fast_path is not None
    taken = {shortcut.name: shortcut.taken for shortcut in record.fast_path.shortcuts}
    assert taken == {"prefix": True, "position": True, "packing": False}
    assert shown in record.fast_path.shortcuts[2].detail
    (warning,) = record.warnings
    assert warning.startswith("the shortcut packing is disabled: ")
    plain = run_with_plugin(tmp_path, adapter=adapter, pooling="last-real-token", plain=True)
    losses = [[step.train_loss for step in run.history.steps] for run in (record, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_run_state_that_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        clsbench.PluginError, match=r"contains backbone.extra._extra_state, a str, but"
    ):
        run_with_plugin(tmp_path, adapter="own-state")


def test_run_buffer_shared_by_every_block_is_stored_and_predicts(tmp_path: Path) -> None:
    run, catalog = finish_with_plugin(tmp_path, adapter="shared-mask")
    assert run.record.status == "finished", run.record.error
    predictor = load_predictor(stored(run), RunOptions(threads=1, offline=True), catalog)
    assert_predicts_what_is_stored(predictor, run)


def test_run_non_finite_weights_are_refused_before_training(tmp_path: Path) -> None:
    message = r"cannot be trained; .*: 3 of the 179,200 values of backbone\.tok_emb\.weight are not"
    with pytest.raises(clsbench.UsageError, match=message):
        run_with_plugin(tmp_path, adapter="not-finite")
    assert not (tmp_path / "runs").exists()


def test_run_non_finite_trained_weights_fail_the_run_and_are_not_loaded(
    tmp_path: Path,
) -> None:
    run, catalog = finish_with_plugin(tmp_path, adapter="not-finite:where=training")
    assert run.record.status == "failed"
    assert run.record.error is not None
    assert "1 of the 3 values of spare are not finite" in run.record.error
    with pytest.raises(clsbench.UsageError, match="values of spare are not finite"):
        load_predictor(stored(run), RunOptions(threads=1, offline=True), catalog)


def test_run_meta_tensor_kept_by_a_plugin_is_explained(tmp_path: Path) -> None:
    record = run_with_plugin(tmp_path, pooling="keeps-a-table")
    assert record.status == "failed"
    assert record.error is not None
    assert "meta tensor" in record.error
    assert "keep it in an attribute of the module" in record.error


def test_run_nan_before_training_names_all_possible_components(tmp_path: Path) -> None:
    record = run_with_plugin(tmp_path, pooling="not-a-number")
    assert record.status == "failed"
    assert record.error is not None
    assert "loss is nan before training: backbone, pooling, head or adapter" in record.error
