"""The suites of backbones: their rows can be resolved and run, and their figures are those
published."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from clsbench_transformers import HF
from clsbench_transformers.suites import IMDB_BACKBONES, SMS_SPAM_BACKBONES
from miniatures import save_model, train_sentence_pieces
from safetensors.torch import load_file

from clsbench import SuiteSpec
from clsbench.components.catalog import load_catalog
from clsbench.components.resolve import find_spec, find_suite, resolve
from clsbench.experiment.run import run_experiment
from clsbench.schema.options import RunOptions

SUITES = Path(__file__).resolve().parents[3] / "benchmarks" / "suites"


@pytest.mark.parametrize("suite", [IMDB_BACKBONES, SMS_SPAM_BACKBONES])
def test_every_row_can_be_resolved_and_names_pinned_files(suite: SuiteSpec) -> None:
    catalog = load_catalog()
    base = find_spec(suite.base, catalog)
    for row in suite.rows:
        experiment = resolve(base, suite.changes_of(row, {}), catalog)
        backbone = experiment.backbone
        if isinstance(backbone, HF):
            assert len(backbone.revision) == 40
            assert len(backbone.assets()) == 4
            assert len(backbone.tokenizer_assets()) == 3


def test_imdb_figures_are_those_of_the_table() -> None:
    published = [row.published for row in IMDB_BACKBONES.rows]
    figures = [100 * row.accuracy["test"] for row in published if row is not None]
    assert figures == pytest.approx([91.88, 90.89, 91.40, 92.95, 94.69, 93.79, 95.07])
    remarks = [row.remark for row in published if row is not None and row.remark]
    assert [remark.rpartition(" says ")[2] for remark in remarks] == ["94.69 %", "92.95 %"]


@pytest.mark.parametrize(("name", "rows"), [("decoder.toml", 16), ("encoder.toml", 6)])
def test_every_row_of_the_measured_suites_can_be_resolved(
    name: str, rows: int, tmp_path: Path
) -> None:
    catalog = load_catalog()
    suite = find_suite(SUITES / name, catalog)
    model = save_model(tmp_path / "model", "llama" if name == "decoder.toml" else "bert")
    base = find_spec(suite.base, catalog)
    chosen = {"backbone": {"name": "hf", "model": str(model)}}
    assert len(suite.rows) == rows
    for row in suite.rows:
        changes = suite.changes_of(row, chosen)
        if "peft" in str(changes.get("adapter")) and "peft" not in catalog.entries["adapters"]:
            continue
        assert isinstance(resolve(base, changes, catalog).backbone, HF)


FAMILIES = {"BERT": "bert", "RoBERTa": "roberta", "DistilBERT": "distilbert",
            "DeBERTa-v3": "deberta-v2", "ModernBERT": "modernbert"}  # fmt: skip
"""The families of miniatures by the first word of a row's title."""


def test_sms_spam_backbones_run_from_a_folder_of_models(tmp_path: Path) -> None:
    rows = SMS_SPAM_BACKBONES.rows[1:]  # the first is GPT-2
    for row in rows:
        backbone = row.changes["backbone"]
        folder = tmp_path / "assets" / backbone["model"]
        save_model(folder, FAMILIES[row.title.split()[0]])
        if "spm.model" in backbone.get("files", ()):
            train_sentence_pieces(folder)
            weights = folder / "model.safetensors"
            torch.save(load_file(weights), folder / "pytorch_model.bin")
            weights.unlink()
    catalog = load_catalog()
    few = {"dataset": "synthetic-sms:texts=60", "data.balance": False, "data.padding": 16,
           "train.epochs": 1, "baselines": []}  # fmt: skip
    options = RunOptions(
        out=tmp_path / "runs", assets=tmp_path / "assets", offline=True, device="cpu", curves=False
    )
    base = find_spec(SMS_SPAM_BACKBONES.base, catalog)
    for row in rows:
        experiment = resolve(base, SMS_SPAM_BACKBONES.changes_of(row, few), catalog)
        record = run_experiment(experiment, options, catalog).record
        assert record.status == "finished", record.error
        assert not record.stand_ins
        assert record.parameters is not None
        trained = record.parameters.trained_stages
        assert [stage for stage in trained if stage.startswith("block.")] == ["block.2"]
