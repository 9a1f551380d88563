"""Text pairs are encoded as the model's own tokenizer encodes them, with its token types."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from clsbench_transformers import HF
from clsbench_transformers.tokenizer import ModelTokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from losses import Losses
from miniatures import CONTEXT, byte_pairs, save_model, word_pieces
from tokenizers import processors
from transformers import AutoModel, AutoTokenizer, pipeline

import clsbench
from clsbench.cli.main import main
from clsbench.data import TextEncoder, TextPair

FAMILIES = ("bert", "roberta", "deberta-v2", "modernbert")
LETTERS = "abc XYZ.,é☃\t"
TEXTS = st.text(LETTERS, max_size=30)
SECONDS = st.text(LETTERS, min_size=1, max_size=30)  # transformers ignores an empty one
PAIRS = (
    ("a premise", "a hypothesis"),
    ("x", "y"),
    ("a [SEP] b", "[CLS] c [PAD]"),
    ("a text that is cut", "since both together are too long for it"),
)


def like_bert() -> Any:
    """A tokenizer with BERT's own post-processor, in place of a template."""
    tokenizer = word_pieces()
    tokenizer.backend_tokenizer.post_processor = processors.BertProcessing(
        ("[SEP]", 3), ("[CLS]", 2)
    )
    return tokenizer


def like_roberta() -> Any:
    """A tokenizer with RoBERTa's own post-processor."""
    tokenizer = word_pieces()
    tokenizer.backend_tokenizer.post_processor = processors.RobertaProcessing(
        ("[SEP]", 3), ("[CLS]", 2)
    )
    return tokenizer


MADE = {
    "one separator": word_pieces(),
    "two separators": word_pieces(two_separators=True),
    "bert": like_bert(),
    "roberta": like_roberta(),
}
ENCODERS = {name: TextEncoder(ModelTokenizer(own, 300), "|") for name, own in MADE.items()}


@settings(deadline=None)
@given(st.sampled_from(sorted(MADE)), TEXTS, SECONDS, st.integers(6, 40))
def test_encode_any_pair_equals_the_tokenizers_own_longest_first(
    name: str, first: str, second: str, length: int
) -> None:
    own, encoder = MADE[name], ENCODERS[name]
    expected = own(first, second, truncation="longest_first", max_length=length).input_ids
    found = encoder.encode(TextPair(first, second))
    assert found.ids == own(first, second).input_ids
    assert encoder.truncated(found, length) == expected


def test_encode_names_of_separators_in_a_pair_are_ordinary_text() -> None:
    found = ENCODERS["one separator"].encode(TextPair("a [SEP] b [SEP]", "[SEP]"))
    assert [place for place, each in enumerate(found.ids) if each == 3] == [13, 19]


@pytest.mark.parametrize(
    ("own", "between", "separator"),
    [
        (word_pieces(), (3,), 3),
        (word_pieces(two_separators=True), (3, 3), None),
        (like_bert(), (3,), 3),
        (like_roberta(), (3, 3), None),
        (byte_pairs(), (), None),
    ],
)
def test_tokenizer_names_the_tokens_between_the_texts_of_a_pair(
    own: Any, between: tuple[int, ...], separator: int | None
) -> None:
    tokenizer = ModelTokenizer(own, 300)
    assert (tokenizer.between, tokenizer.type_separator) == (between, separator)


def test_encode_pair_of_a_decoder_has_the_separator_of_the_settings() -> None:
    own = byte_pairs()
    encoder = TextEncoder(ModelTokenizer(own, 300), " | ")
    assert encoder.encode(TextPair("a", "b")).ids == own("a | b").input_ids
    template = processors.TemplateProcessing(  # as in Llama: begins both texts alike
        single="<|im_start|> $A",
        pair="<|im_start|> $A <|im_start|> $B",
        special_tokens=[("<|im_start|>", 2)],
    )
    own.backend_tokenizer.post_processor = template
    encoder = TextEncoder(ModelTokenizer(own, 300), None)
    assert encoder.encode(TextPair("a", "b")).ids == own("a\nb").input_ids


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp(request.param) / "model", request.param)


@torch.no_grad()
def states(module: Any, context: Any) -> torch.Tensor:
    hidden = None
    for stage in module.stages():
        hidden = stage.run(hidden, context)
    assert hidden is not None
    return hidden


def test_stages_of_pairs_equal_the_models_own_forward(folder: Path) -> None:
    backbone = HF(model=str(folder))
    tokenizer, module = backbone.tokenizer({}), backbone.build({}).eval()
    encoder = TextEncoder(tokenizer, None)
    rows = [encoder.truncated(encoder.encode(TextPair(*pair)), 30) for pair in PAIRS]
    rows.append(encoder.encode("a single text").ids)
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.full((len(rows), 32), 7)  # right-padded by an id that is not the model's
    for row, tokens in zip(ids, rows, strict=True):
        row[: len(tokens)] = torch.tensor(tokens)
    own_tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    types = len(set(tokenizer.between)) == len(tokenizer.between)
    context = module.prepare(ids, lengths)
    padded = states(module, context)
    for place, row in enumerate(rows):
        given = {"input_ids": torch.tensor([row])}
        if model.config.model_type == "bert":
            second = row.index(3) + 1
            given["token_type_ids"] = torch.tensor([[0] * second + [1] * (len(row) - second)])
            assert context.token_types[place].tolist() == [
                *given["token_type_ids"][0].tolist(),
                *[0] * (32 - len(row)),
            ]
            if place < 2:
                own = own_tokenizer(*PAIRS[place], return_token_type_ids=True)
                assert own.input_ids == row
                assert own.token_type_ids == given["token_type_ids"][0].tolist()
        with torch.no_grad():
            expected = model(**given).last_hidden_state[0]
        torch.testing.assert_close(padded[place, : len(row)], expected, rtol=0, atol=1e-5)
    assert types or model.config.model_type == "roberta"
    if isinstance(module, clsbench.PackingBackboneModule):
        packing = clsbench.Packing.of(lengths.tolist())
        packed = states(module, module.prepare_packed(packing.pack(ids), packing))
        torch.testing.assert_close(packed, packing.pack(padded), rtol=0, atol=1e-5)


def pairs_file(folder: Path) -> Path:
    rows = [
        (f"{first} {n}", f"is it {second}", "yes" if first == second else "no")
        for n in range(10)
        for first in ("red", "blue")
        for second in ("red", "blue")
    ]
    path = folder / "pairs.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "question", "label"), *rows])
    return path


def run(model: Path, folder: Path, plain: bool, **chosen: Any) -> tuple[Any, list[float]]:
    losses = Losses()
    defaults = {"pooling": "first-token", "freezing": "last-blocks", "precision": "fp64"}
    record = clsbench.run(
        "gpt2-sms-spam",
        dataset=f"csv:path={pairs_file(folder)},text_pair=question",
        backbone={"name": "hf", "model": str(model)},
        settings={
            "baselines": [],
            "data.padding": 14,  # shorter than some pairs
            "data.split.name": "stratified",
            "train.epochs": 2,
            "train.lr": 1e-3,
            "train.eval_every": 10,
        },
        observers=[losses],
        device="cpu",
        threads=1,
        plain=plain,
        **{"out": folder, **defaults, **chosen},
    )
    return record, losses.values


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_run_on_pairs_with_shortcuts_has_the_losses_of_the_plain_path(
    family: str, tmp_path: Path
) -> None:
    model = save_model(tmp_path / "model", family)
    fast, fast_losses = run(model, tmp_path, plain=False)
    plain, plain_losses = run(model, tmp_path, plain=True)
    assert all(each.taken for each in fast.fast_path.shortcuts), fast.fast_path.shortcuts
    assert not fast.warnings
    assert fast.data.max_length < CONTEXT
    assert sum(fast.data.truncated.values()) > 0
    assert fast_losses == pytest.approx(plain_losses, rel=1e-9)
    assert fast.metrics.test.loss == pytest.approx(plain.metrics.test.loss, rel=1e-9)


def test_export_of_pairs_gives_the_probabilities_of_predict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, target = tmp_path / "runs", tmp_path / "exported"
    model = save_model(tmp_path / "model", "bert")
    run(model, tmp_path, plain=False, out=out, head="dense", precision="fp32")
    assert call(capsys, "export", "latest", "--format", "transformers", "-o", target, out)[0] == 0
    firsts = [first for first, _ in PAIRS]
    seconds = [word for _, second in PAIRS for word in ("--pair", second)]
    _, said = call(capsys, "predict", "latest", *firsts, *seconds, "--json", out)
    expected = [each["probabilities"] for each in json.loads(said)["predictions"]]
    classify = pipeline("text-classification", model=str(target), top_k=None, truncation=True)
    for (first, second), answer in zip(PAIRS, expected, strict=True):
        found = classify({"text": first, "text_pair": second})
        scores = {each["label"]: each["score"] for each in found}
        assert scores == pytest.approx(answer, abs=1e-5)
    assert 'classify({"text": "first text", "text_pair"' in (target / "README.md").read_text()


def test_export_of_pairs_with_a_decoder_is_refused_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, target = tmp_path / "runs", tmp_path / "exported"
    model = save_model(tmp_path / "model", "gpt2")
    run(model, tmp_path, plain=False, out=out, pooling="last-real-token", head="score")
    code, said = call(capsys, "export", "latest", "--format", "transformers", "-o", target, out)
    assert code == 2
    assert "no special token between the texts of a pair" in " ".join(said.split())


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Run the command with the store as last argument; its exit code and output."""
    *words, out = map(str, arguments)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([*words, "--out", out])
    printed, err = capsys.readouterr()
    return int(ended.value.code or 0), printed or err
