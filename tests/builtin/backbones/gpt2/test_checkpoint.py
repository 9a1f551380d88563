"""GPT-2 checkpoints: accepted, refused with a reason, or read in shards."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from gpt2_checkpoints import (
    hub_tensors,
    language_model,
    tensor_shapes,
    write_zeros,
)
from gpt2_folders import SHAPE, assert_refused, edit_config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from clsbench import AssetError, UsageError
from clsbench.builtin.backbones.gpt2 import GPT2
from clsbench.builtin.backbones.gpt2.checkpoint import load, read_shape
from clsbench.builtin.backbones.gpt2.config import CheckpointError, unused_tokens
from clsbench.builtin.backbones.gpt2.shape import SHAPES


def edit_tensors(checkpoint: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = checkpoint / "model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)


def test_checkpoint_with_unused_head_or_tokens_warns(checkpoint: Path) -> None:
    edit_tensors(checkpoint, lambda t: t.update({"score.weight": torch.zeros(3, 48)}))
    edit_config(checkpoint, pad_token_id=7)
    head, padding = GPT2(weights=str(checkpoint)).user_file_warnings()
    assert "classification head (score.weight) is not used" in head
    assert "pad_token_id = 7) is not used: texts are padded with" in padding
    edit_config(checkpoint, pad_token_id=None, vocab_size=50260)
    (tokens,) = unused_tokens(checkpoint / "config.json")
    assert "its tokens beyond GPT-2's 50,257 (config.json: vocab_size = 50260) are not" in tokens


@pytest.mark.parametrize("padding", [None, 50256])
def test_checkpoint_with_language_model_head_does_not_warn(
    checkpoint: Path, padding: int | None
) -> None:
    edit_config(checkpoint, pad_token_id=padding)
    edit_tensors(checkpoint, lambda t: t.update({"lm_head.weight": torch.zeros(211, 48)}))
    assert GPT2(weights=str(checkpoint)).user_file_warnings() == ()
    assert GPT2().user_file_warnings() == GPT2(weights="random").user_file_warnings() == ()


def test_checkpoint_reports_its_files_and_sizes(saved: Path) -> None:
    backbone = GPT2(weights=str(saved))
    assert backbone.user_files() == (saved / "config.json", saved / "model.safetensors")
    assert backbone.hidden_size() == SHAPE.width
    assert backbone.context_length() == SHAPE.context_length
    assert backbone.user_file_warnings() == ()
    assert backbone.stand_in() is None
    described = {p.name: p.shape for p in backbone.describe()}
    built = {name: tuple(p.shape) for name, p in backbone.build({}).named_parameters()}
    assert described == built


@pytest.mark.parametrize("size", SHAPES)
def test_checkpoint_single_file_size_is_read_from_its_shapes(size: str, tmp_path: Path) -> None:
    path = tmp_path / "anything.safetensors"
    write_zeros(path, tensor_shapes(SHAPES[size]))
    backbone = GPT2(weights=str(path))
    assert backbone.user_files() == (path,)
    assert backbone.hidden_size() == SHAPES[size].width
    assert len(backbone.describe()) == 16 * SHAPES[size].blocks + 4


def test_checkpoint_size_option_that_differs_is_refused(
    tmp_path: Path,
) -> None:
    path = tmp_path / "medium.safetensors"
    write_zeros(path, tensor_shapes(SHAPES["medium"]))
    assert GPT2(weights=str(path)).hidden_size() == 1024
    assert GPT2(weights=str(path), size="medium").hidden_size() == 1024
    with pytest.raises(UsageError, match=r"size=xl does not match .* 24 blocks of width 1024"):
        GPT2(weights=str(path), size="xl").hidden_size()


def test_checkpoint_path_with_home_directory_is_expanded(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(saved.parent))
    assert GPT2(weights=f"~/{saved.name}").hidden_size() == SHAPE.width


@pytest.mark.parametrize(
    ("weights", "parts"),
    [
        ("nowhere/at-all", ["no such file or directory"]),
        ("pretraned", ["did you mean 'pretrained'?"]),
        ("Random", ["did you mean 'random'?"]),
        ("~no-such-user/gpt2", ["no such file or directory"]),
        ("null\0byte", []),
        ("long" * 2000, []),
    ],
)
def test_checkpoint_missing_path_is_refused(weights: str, parts: list[str]) -> None:
    assert_refused(weights, *parts)


def test_checkpoint_directory_without_weights_is_refused(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    assert_refused(checkpoint, "neither model.safetensors nor model.safetensors.index.json")


def test_checkpoint_pickled_weights_are_refused(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    torch.save({}, checkpoint / "pytorch_model.bin")
    assert_refused(
        checkpoint, "pytorch_model.bin", "only safetensors is supported", "save_pretrained"
    )
    assert_refused(checkpoint / "pytorch_model.bin", "is a pickled PyTorch file", "save_pretrained")


@pytest.mark.parametrize("content", [b"Not safetensors at all, you see", b"\0" * 64])
def test_checkpoint_other_file_type_is_refused(content: bytes, checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").write_bytes(content)
    assert_refused(checkpoint, "model.safetensors", "is not a safetensors file")


def test_checkpoint_path_of_config_file_is_refused(checkpoint: Path) -> None:
    assert_refused(checkpoint / "config.json", "name its directory")


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_checkpoint_truncated_file_is_refused(kept: int, checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    assert_refused(checkpoint, "truncated or damaged")


@pytest.mark.skipif(sys.platform == "win32", reason="no such permissions")
def test_checkpoint_unreadable_file_is_refused(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").chmod(0)
    try:
        (checkpoint / "model.safetensors").read_bytes()
    except PermissionError:
        assert_refused(checkpoint, "cannot be read")
    else:
        pytest.skip("this user may read everything")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_checkpoint_any_damaged_file_loads_or_raises_checkpoint_error(
    data: st.DataObject, saved: Path
) -> None:
    """Truncated anywhere, or with one byte of the header changed."""
    content = bytearray((saved / "model.safetensors").read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, 3000))] = data.draw(st.integers(0, 255))
    folder = saved / "damaged"
    folder.mkdir(exist_ok=True)
    shutil.copy(saved / "config.json", folder)
    (folder / "model.safetensors").write_bytes(content)
    with contextlib.suppress(CheckpointError):
        assert load(folder, SHAPE, causal=True).hidden_size == SHAPE.width


def test_checkpoint_missing_tensor_is_refused(checkpoint: Path) -> None:
    edit_tensors(checkpoint, lambda t: t.pop("transformer.h.1.mlp.c_fc.bias"))
    assert_refused(checkpoint, "tensor h.1.mlp.c_fc.bias of shape (192,) is missing")


def test_checkpoint_huge_block_number_is_refused(checkpoint: Path) -> None:
    name = f"h.{'9' * 5000}.ln_1.weight"
    edit_tensors(checkpoint, lambda t: t.update({name: torch.zeros(3)}))
    assert_refused(checkpoint, "has 3 blocks, expected 2")


def test_checkpoint_unknown_tensor_is_refused(checkpoint: Path) -> None:
    edit_tensors(checkpoint, lambda t: t.update({"transformer.h.0.lora": torch.zeros(3)}))
    assert_refused(checkpoint, "tensor transformer.h.0.lora of shape (3,) is not part of a GPT-2")


def test_checkpoint_tensor_of_wrong_shape_is_refused(checkpoint: Path) -> None:
    key = "transformer.h.0.attn.c_attn.weight"
    edit_tensors(checkpoint, lambda t: t.update({key: torch.zeros(48, 48)}))
    assert_refused(
        checkpoint,
        f"tensor {key} has shape (48, 48), expected (48, 144) (model.safetensors)",
    )


def test_checkpoint_tensor_of_integer_dtype_is_refused(checkpoint: Path) -> None:
    key = "transformer.wte.weight"
    edit_tensors(checkpoint, lambda t: t.update({key: t[key].to(torch.int8)}))
    assert_refused(checkpoint, f"tensor {key} is stored as I8, expected one of F64, F32")


def test_checkpoint_duplicate_tensor_is_refused(checkpoint: Path) -> None:
    edit_tensors(checkpoint, lambda t: t.update({"wte.weight": t["transformer.wte.weight"] + 0}))
    assert_refused(checkpoint, "wte.weight occurs twice")


def test_checkpoint_too_few_blocks_are_refused(checkpoint: Path) -> None:
    edit_config(checkpoint, n_layer=3)
    assert_refused(checkpoint, "has 2 blocks, expected 3")


def test_checkpoint_huge_number_of_blocks_is_refused_at_once(checkpoint: Path) -> None:
    edit_config(checkpoint, n_layer=10**12)
    assert_refused(checkpoint, "expected 1000000000000")


def test_checkpoint_single_file_of_unknown_size_is_refused(saved: Path) -> None:
    assert_refused(
        saved / "model.safetensors",
        "wte.weight has shape (211, 48), which is not one of the published sizes",
        "name the directory of the checkpoint",
    )


def test_checkpoint_single_file_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bert.safetensors"
    save_file({"embeddings.word_embeddings.weight": torch.zeros(4, 4)}, path)
    assert_refused(path, "no tensor wte.weight", "embeddings.word_embeddings.weight")


def test_checkpoint_single_file_with_wrong_shape_is_refused(tmp_path: Path) -> None:
    shapes = tensor_shapes(SHAPES["small"])
    path = tmp_path / "model.safetensors"
    write_zeros(path, shapes | {"h.11.mlp.c_proj.weight": (768, 3072)})
    assert_refused(
        path, "tensor h.11.mlp.c_proj.weight has shape (768, 3072), expected (3072, 768)"
    )


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    language_model(SHAPE).save_pretrained(tmp_path / "shards", max_shard_size="50KB")
    return tmp_path / "shards"


def test_checkpoint_missing_shard_is_refused(shards: Path) -> None:
    gone = min(shards.glob("*.safetensors"))
    gone.unlink()
    assert_refused(shards, f"{gone.name}, which model.safetensors.index.json names, is missing")


def test_checkpoint_shard_in_another_folder_is_refused(shards: Path) -> None:
    index = shards / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"wte.weight": "../secret.safetensors"}}))
    assert_refused(shards, "names the file '../secret.safetensors', which is not beside it")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"weight_map": 3}', "{'weight_map': {}}", '{"weight_map":' * 100_000],
    ids=["empty", "array", "object", "number", "quotes", "deep"],
)
def test_checkpoint_broken_index_is_refused(text: str, shards: Path) -> None:
    (shards / "model.safetensors.index.json").write_text(text)
    assert_refused(shards, "model.safetensors.index.json is not an index of weight files")


def test_checkpoint_damaged_published_weights_raise_asset_error(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    shapes = tensor_shapes(SHAPES["small"])
    del shapes["ln_f.bias"]
    write_zeros(path, shapes)
    with pytest.raises(AssetError, match=r"asset gpt2/model\.safetensors: .*ln_f\.bias.*missing"):
        GPT2().build({"gpt2/model.safetensors": path})


def test_checkpoint_mask_buffers_of_the_hub_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "hub.safetensors"
    tensors = hub_tensors(language_model(SHAPE))
    tensors["h.0.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(tensors, path)
    assert load(path, SHAPE, causal=True).hidden_size == SHAPE.width
    with pytest.raises(CheckpointError, match="not one of the published sizes"):
        read_shape(path)
