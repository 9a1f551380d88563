"""Folders that cannot be used are refused; the message names the problem and the remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from clsbench_transformers import HF
from clsbench_transformers.checkpoint import CheckpointError, require
from miniatures import save_model, train_sentence_pieces
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSequenceClassification

import clsbench


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_model(tmp_path / "model", "bert")


def problem(folder: Path, use: Callable[[HF], Any]) -> str:
    with pytest.raises(clsbench.UsageError) as caught:
        use(HF(model=str(folder)))
    text = str(caught.value)
    assert text.startswith(f"backbone hf, model={folder}: ")
    return text


def build(backbone: HF) -> Any:
    return backbone.build({})


def change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("config.json", "the folder has no config.json; expected a model as save_pretrained"),
        ("tokenizer.json", "has no tokenizer (none of tokenizer.json"),
        ("model.safetensors", "has no weights: neither model.safetensors nor"),
    ],
)
def test_user_files_missing_file_is_refused(folder: Path, name: str, said: str) -> None:
    (folder / name).unlink()
    assert said in problem(folder, HF.user_files)


def test_user_files_folder_with_an_adapter_is_refused(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")
    assert "holds an adapter of peft" in problem(folder, HF.user_files)


def test_user_files_are_those_that_are_read(folder: Path) -> None:
    (folder / "README.md").write_text("not read")
    names = {path.name for path in HF(model=str(folder)).user_files()}
    assert names == {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}
    random = {path.name for path in HF(model=str(folder), weights="random").user_files()}
    assert random == names - {"model.safetensors"}


def test_user_file_warnings_head_of_a_classifier_is_named(folder: Path, tmp_path: Path) -> None:
    backbone = HF(model=str(folder))
    assert backbone.user_file_warnings() == ()
    AutoModelForSequenceClassification.from_pretrained(folder).save_pretrained(folder)
    (warning,) = backbone.user_file_warnings()
    assert (
        warning == "its head (classifier.bias, classifier.weight) is not used: a run trains its own"
    )
    assert backbone.build({}) is not None


def test_user_files_missing_folder_is_refused(tmp_path: Path) -> None:
    said = problem(tmp_path / "nothing", HF.user_files)
    assert "no such folder" in said
    assert "for a model of the hub, name its revision too" in said


def test_build_reads_weights_that_torch_has_saved(folder: Path) -> None:
    expected = build(HF(model=str(folder))).state_dict()
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    backbone = HF(model=str(folder))
    assert folder / "pytorch_model.bin" in backbone.user_files()
    found = build(backbone).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("this code has run",)


def test_build_runs_no_code_from_weights_that_torch_has_saved(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"embeddings.word_embeddings.weight": _Code()}, folder / "pytorch_model.bin")
    said = problem(folder, build)
    assert "its weights cannot be loaded" in said
    assert "this code has run" not in capsys.readouterr().out


def test_user_files_weights_of_another_library_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "tf_model.h5")
    said = problem(folder, HF.user_files)
    assert "the weights are in tf_model.h5; only safetensors is supported" in said


def save_shards(folder: Path) -> None:
    model = AutoModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="50KB")


def test_build_sharded_weights_are_read(folder: Path) -> None:
    save_shards(folder)
    backbone = HF(model=str(folder))
    assert sum(path.suffix == ".safetensors" for path in backbone.user_files()) > 1
    assert backbone.build({}) is not None


def test_user_files_missing_shard_is_refused(folder: Path) -> None:
    save_shards(folder)
    lost = sorted(folder.glob("model-*.safetensors"))[-1]
    lost.unlink()
    said = problem(folder, HF.user_files)
    assert f"{lost.name}, which model.safetensors.index.json names, is missing" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "t5"}, "architecture 't5' is not supported; supported: bert, camembert"),
        ({"model_type": None}, "names no model_type; it is not supported; supported: bert"),
        ({"auto_map": {"AutoModel": "a.B"}}, "config.json refers to code of its own (auto_map)"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type = 'relative_key'"),
        ({"is_decoder": True, "add_cross_attention": True}, "add_cross_attention = True is not"),
        ({"quantization_config": {"bits": 4}}, "quantization_config = {'bits': 4} is not"),
        ({"hidden_size": "wide"}, "config.json is not valid: "),
        ({"model_type": ["bert"]}, "architecture ['bert'] is not supported"),
    ],
)
def test_config_unsupported_setting_is_refused(
    folder: Path, changes: dict[str, Any], said: str
) -> None:
    change_config(folder, **changes)
    assert said in problem(folder, HF.context_length)


def test_config_dynamic_rotary_positions_are_refused(tmp_path: Path) -> None:
    folder = save_model(tmp_path, "llama")
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}
    change_config(folder, rope_parameters=rope)
    assert "rotary positions of the type 'dynamic'" in problem(folder, HF.context_length)


@pytest.mark.parametrize("family", ["gemma", "gemma2"])
def test_config_bidirectional_gemma_is_refused(family: str, tmp_path: Path) -> None:
    folder = save_model(tmp_path, family, use_bidirectional_attention=True)
    said = problem(folder, HF.context_length)
    assert "use_bidirectional_attention = true is not supported" in said


def test_config_without_the_padding_id_that_positions_need_is_refused(tmp_path: Path) -> None:
    folder = save_model(tmp_path, "roberta")
    change_config(folder, pad_token_id=None)
    assert "config.json: pad_token_id is missing" in problem(folder, HF.context_length)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden_size": 33}, "describes no possible model: The hidden size (33) is not"),
        ({"hidden_act": "nope"}, "describes no possible model: KeyError 'nope'"),
    ],
)
def test_config_of_an_impossible_model_is_refused(
    folder: Path, changes: dict[str, Any], said: str
) -> None:
    change_config(folder, **changes)
    assert said in problem(folder, HF.describe)


def test_tokenizer_unsupported_architecture_is_named_first(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    change_config(folder, model_type="t5")
    said = problem(folder, lambda backbone: backbone.tokenizer({}))
    assert "architecture 't5' is not supported" in said


def test_config_broken_json_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    assert "config.json cannot be read" in problem(folder, HF.context_length)


def test_context_length_excludes_skipped_positions(tmp_path: Path) -> None:
    assert HF(model=str(save_model(tmp_path / "one", "bert"))).context_length() == 64
    assert HF(model=str(save_model(tmp_path / "two", "roberta"))).context_length() == 64


def test_build_missing_tensor_is_refused(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    names = [name for name in state if "layer.1.intermediate" in name]
    save_file({n: t for n, t in state.items() if n not in names}, folder / "model.safetensors")
    said = problem(folder, build)
    assert (
        "its weights lack the tensor encoder.layer.1.intermediate.dense.bias (and 1 others)" in said
    )


def test_build_more_blocks_than_the_config_are_refused(folder: Path) -> None:
    change_config(folder, num_hidden_layers=2)
    assert "encoder.layer.2." in problem(folder, build)


def test_build_tensor_of_another_shape_is_refused(folder: Path) -> None:
    change_config(folder, intermediate_size=40)
    said = problem(folder, build)
    assert "has shape (48,), but config.json demands (40,)" in said


def test_build_truncated_weights_are_refused(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert "its weights cannot be loaded: " in problem(folder, build)


def test_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path: Path) -> None:
    folder = save_model(tmp_path, "llama", vocab_size=100)
    said = problem(folder, lambda backbone: backbone.tokenizer({}))
    assert "its tokenizer has the token id 259, but the model has 100 embeddings" in said


def test_tokenizer_with_code_of_its_own_is_refused(folder: Path) -> None:
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["auto_map"] = {"AutoTokenizer": ["code.Own", None]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    said = problem(folder, lambda backbone: backbone.tokenizer({}))
    assert "tokenizer_config.json refers to code of its own (auto_map), which is never run" in said


def test_tokenizer_broken_file_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    said = problem(folder, lambda backbone: backbone.tokenizer({}))
    assert "its tokenizer cannot be loaded: " in said


def test_backbone_without_or_with_two_models_is_refused() -> None:
    for options in ({}, {"model": "a", "gguf": "b"}):
        with pytest.raises(ValueError, match="expected either model=FOLDER or gguf=FILE"):
            HF(**options)


def test_require_absent_package_is_named() -> None:
    require("torch", "transformers")
    with pytest.raises(CheckpointError, match=r"needs no-such-one to read it; install: pip inst"):
        require("torch", "no-such-one")


def test_tokenizer_of_sentencepiece_without_its_package_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "tokenizer.json").rename(folder / "spm.model")
    monkeypatch.setattr(metadata, "distributions", lambda: ())
    said = problem(folder, lambda backbone: backbone.tokenizer({}))
    assert "needs sentencepiece and protobuf to read it; install: pip install sentence" in said


def test_tokenizer_of_sentencepiece_is_read_without_special_look_alikes(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", "deberta-v2")
    train_sentence_pieces(folder)
    backbone = HF(model=str(folder))
    assert folder / "spm.model" in backbone.user_files()
    tokenizer: Any = backbone.tokenizer({})
    first, *content, last = tokenizer.encode("you have [SEP] won [PAD]")
    assert (first, last, tokenizer.ending) == (1, 2, (2,))
    assert not {0, 1, 2} & set(content)
