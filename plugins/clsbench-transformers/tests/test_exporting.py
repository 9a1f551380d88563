"""``clsbench export --format transformers``: what transformers loads, and what is refused."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from clsbench_transformers.families import FAMILIES
from miniatures import ENCODERS, byte_pairs, save_model, word_pieces
from tokenizers import processors
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    GPT2Model,
    pipeline,
)

import clsbench
from clsbench.cli.main import main

TEXTS = (
    *(
        "see you later ☃☃",
        "see you",
        "WIN a prize, call now!",
        "a [SEP] b [PAD] <|endoftext|> </s>",
        "x",
    ),
    "a text that is much longer than the forty tokens to which texts are truncated here " * 3,
)
OFFSET = ("camembert", "roberta", "xlm-roberta")
"""Families that count positions from behind the padding id, which here must be the tokenizer's."""
HEADS = {"distilbert": "dense:activation=relu", "deberta-v2": "mlp", "modernbert": "dense-norm"}
"""The heads of encoders' classifiers, where they differ from most."""

SETTINGS = {
    "baselines": ["majority"],
    "data.padding": 40,
    "data.balance": False,
    "data.split.name": "stratified",
    "train.epochs": 1,
    "train.lr": 1e-2,
    "train.eval_every": 100,
}


def run(backbone: dict[str, Any], out: Path, settings: Any = None, **chosen: Any) -> None:
    clsbench.run(
        "gpt2-sms-spam",
        backbone=backbone,
        settings={**SETTINGS, **(settings or {})},
        out=out,
        device="cpu",
        threads=1,
        plain=True,  # without the trial of the shortcuts
        **{"dataset": "synthetic-sms:texts=100", **chosen},
    )


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in arguments])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def export(capsys: pytest.CaptureFixture[str], out: Path, target: Path) -> tuple[int, str]:
    chosen = ("--format", "transformers", "-o", target, "--out", out)
    code, _, err = call(capsys, "export", "latest", *chosen)
    return code, err


def probabilities(capsys: pytest.CaptureFixture[str], out: Path) -> torch.Tensor:
    _, said, _ = call(capsys, "predict", "latest", *TEXTS, "--json", "--out", out)
    answers = json.loads(said)["predictions"]
    return torch.tensor([list(each["probabilities"].values()) for each in answers])


def check_loads(folder: Path, expected: torch.Tensor) -> None:
    """The exported folder gives the same probabilities, by model and tokenizer and by pipeline."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(list(TEXTS), padding=True, truncation=True, return_tensors="pt")
    assert batch["input_ids"].shape[1] == 40
    with torch.no_grad():
        found = model(**batch).logits.softmax(dim=-1)
    assert torch.allclose(found, expected, atol=1e-5), (found, expected)
    classify = pipeline("text-classification", model=str(folder), top_k=None, truncation=True)
    for row, answers in zip(expected.tolist(), classify(list(TEXTS)), strict=True):
        scores = {each["label"]: each["score"] for each in answers}
        assert scores == pytest.approx({"ham": row[0], "spam": row[1]}, abs=1e-5)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_export_of_every_family_gives_the_probabilities_of_predict(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"pad_token_id": 0, "max_position_embeddings": 65} if family in OFFSET else {}
    model = save_model(tmp_path / "model", family, **changes)
    pooling, head = "last-real-token", "score"
    if family in ENCODERS:
        pooling = "mean" if family == "modernbert" else "first-token"
        head = HEADS.get(family, "dense")
    out = tmp_path / "runs"
    run({"name": "hf", "model": str(model)}, out, pooling=pooling, head=head, freezing="all")
    code, err = export(capsys, out, tmp_path / "exported")
    assert code == 0, err
    check_loads(tmp_path / "exported", probabilities(capsys, out))


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_export_moves_the_bias_of_a_linear_head_into_the_final_norm(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_model(tmp_path / "model", family)
    out = tmp_path / "runs"
    backbone = {"name": "hf", "model": str(model)}
    run(backbone, out, pooling="last-real-token", freezing="last-blocks")
    code, err = export(capsys, out, tmp_path / "exported")
    assert code == 0, err
    check_loads(tmp_path / "exported", probabilities(capsys, out))


@pytest.mark.parametrize("adapter", ["lora:r=2,alpha=8.0", "peft:type=lora,r=2"])
def test_export_merges_an_adapter(
    adapter: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if adapter.startswith("peft"):
        pytest.importorskip("clsbench_peft")
    model = save_model(tmp_path / "model", "gpt2")  # most of its linear layers are Conv1D
    out = tmp_path / "runs"
    chosen = {"pooling": "last-real-token", "head": "score", "adapter": adapter}
    run({"name": "hf", "model": str(model)}, out, freezing="head-only", **chosen)
    code, err = export(capsys, out, tmp_path / "exported")
    assert code == 0, err
    check_loads(tmp_path / "exported", probabilities(capsys, out))
    card = (tmp_path / "exported" / "README.md").read_text()
    assert f"(`head-only:final_norm=false`, adapter `{adapter}`)" in card
    assert " 1 epoch, " in card


def test_export_card_holds_figures_conditions_and_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_model(tmp_path / "model", "bert")
    out = tmp_path / "runs"
    run({"name": "hf", "model": str(model)}, out, pooling="first-token", head="dense")
    assert export(capsys, out, tmp_path / "exported")[0] == 0
    card = (tmp_path / "exported" / "README.md").read_text()
    (record,) = (json.loads(path.read_text()) for path in out.glob("*/record.json"))
    test = record["metrics"]["test"]
    assert f"{100 * test['accuracy']:.2f} % of {test['n']} texts (95 % interval" in card
    assert "| classes | `ham`, `spam` |" in card
    assert "baseline: the most frequent class" in card
    assert str(tmp_path) not in card
    config = json.loads((tmp_path / "exported" / "config.json").read_text())
    assert config["id2label"] == {"0": "ham", "1": "spam"}


@pytest.mark.parametrize(
    ("family", "chosen", "said"),
    [
        ("bert", {"pooling": "mean"}, "--pooling first-token --head dense:activation=tanh"),
        ("bert", {"pooling": "first-token"}, "--head dense:activation=tanh"),
        ("distilbert", {"pooling": "first-token", "head": "mlp"}, "dense:activation=relu"),
        ("deberta-v2", {"pooling": "first-token", "head": "mlp:width=8"}, "activation=gelu"),
        ("modernbert", {"pooling": "max"}, "--pooling first-token or mean --head dense-norm"),
        ("llama", {"pooling": "last-real-token"}, "without bias.*--head score"),
        ("llama", {"pooling": "last-token"}, "--pooling last-real-token"),
        ("gpt2", {"pooling": "last-real-token", "head": "mlp"}, "--head score"),
    ],
)
def test_export_without_equivalent_is_refused_with_the_alternative(
    family: str,
    chosen: dict[str, str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = save_model(tmp_path / "model", family)
    run({"name": "hf", "model": str(model)}, tmp_path / "runs", freezing="head-only", **chosen)
    code, err = export(capsys, tmp_path / "runs", tmp_path / "exported")
    assert code == 2
    assert "the format 'transformers'" in err
    assert re.search(said, " ".join(err.split())), err
    assert not (tmp_path / "exported").exists()


def test_export_of_a_gpt2_of_the_core_gives_the_probabilities_of_predict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assets = os.environ.get("CLSBENCH_ASSETS")
    if not assets or not (Path(assets) / "gpt2-tokenizer").is_dir():
        pytest.skip("needs GPT-2's vocabulary: set CLSBENCH_ASSETS")
    torch.manual_seed(3)
    config = GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=64)
    GPT2Model(config).save_pretrained(tmp_path / "model")
    out = tmp_path / "runs"
    backbone = {"name": "gpt2", "weights": str(tmp_path / "model")}
    run(backbone, out, pooling="last-real-token", freezing="last-blocks", assets=Path(assets))
    code, err = export(capsys, out, tmp_path / "exported")
    assert code == 0, err
    check_loads(tmp_path / "exported", probabilities(capsys, out))


def test_export_with_several_labels_gives_the_probabilities_of_predict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_model(tmp_path / "model", "gpt2")
    rows = [f"text {n},{'|'.join('ab'[: n % 3])}" for n in range(60)]
    (tmp_path / "texts.csv").write_text("\n".join(["text,topics", *rows]))
    out, exported = tmp_path / "runs", tmp_path / "exported"
    chosen = {"dataset": f"csv:path={tmp_path / 'texts.csv'},labels=topics", "head": "score"}
    run({"name": "hf", "model": str(model)}, out, pooling="last-real-token", **chosen)
    code, err = export(capsys, out, exported)
    assert code == 0, err
    classify = pipeline("text-classification", model=str(exported), top_k=None, truncation=True)
    expected = probabilities(capsys, out)
    for row, answers in zip(expected.tolist(), classify(list(TEXTS)), strict=True):
        scores = {each["label"]: each["score"] for each in answers}
        assert scores == pytest.approx({"a": row[0], "b": row[1]}, abs=1e-5)
    card = (exported / "README.md").read_text()
    assert "one is predicted if its probability is at least a " in card
    assert 'classify("a text", top_k=None)' in card
    assert "| micro F1 on test | 0." in card


def test_export_predicts_the_classes_stored_with_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_model(tmp_path / "model", "gpt2")
    out = tmp_path / "runs"
    run({"name": "hf", "model": str(model)}, out, pooling="last-real-token", head="score")
    assert export(capsys, out, tmp_path / "exported")[0] == 0
    texts = texts_of_the_corpus()
    (predictions,) = out.glob("*/predictions.csv")
    with predictions.open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["split"] == "test"]
    classify = pipeline("text-classification", model=str(tmp_path / "exported"), truncation=True)
    found = classify([texts[int(row["row"])] for row in rows])
    expected = [max(float(row["probability_ham"]), float(row["probability_spam"])) for row in rows]
    assert [each["score"] for each in found] == pytest.approx(expected, abs=1e-5)


def texts_of_the_corpus() -> tuple[str, ...]:
    from clsbench.builtin.datasets.synthetic_sms import SyntheticSms

    return tuple(SyntheticSms(texts=100).load({}).texts)


def padding_in_texts(folder: Path, ending: str) -> Path:
    """A Llama whose padding token is that of unknown characters, and what stands around a text."""
    tokenizer = word_pieces()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A{ending}", special_tokens=[("[SEP]", 3)]
    )
    tokenizer.pad_token = "[UNK]"
    model = save_model(folder, "llama")
    tokenizer.save_pretrained(model)
    return model


@pytest.mark.parametrize("ending", ["", " [SEP]"])
def test_export_pads_with_a_token_that_no_text_contains(
    ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = padding_in_texts(tmp_path / "model", ending)
    out = tmp_path / "runs"
    backbone = {"name": "hf", "model": str(model)}
    run(backbone, out, pooling="last-real-token", head="score", freezing="all")
    code, err = export(capsys, out, tmp_path / "exported")
    assert code == 0, err
    check_loads(tmp_path / "exported", probabilities(capsys, out))


def test_export_without_a_token_for_padding_is_refused_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_model(tmp_path / "model", "llama")
    tokenizer = byte_pairs()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A <|endoftext|>",
        special_tokens=[("<|im_start|>", 2), ("<|endoftext|>", 3)],
    )
    tokenizer.save_pretrained(model)
    out = tmp_path / "runs"
    run({"name": "hf", "model": str(model)}, out, pooling="last-real-token", head="score")
    code, err = export(capsys, out, tmp_path / "exported")
    assert code == 2
    assert "add one to the model's tokenizer (tokenizer.pad_token)" in " ".join(err.split())
