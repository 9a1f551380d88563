"""``config.json`` of a checkpoint: read, or refused with the key and the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from gpt2_folders import SHAPE, assert_refused, edit_config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clsbench.builtin.backbones.gpt2 import GPT2
from clsbench.builtin.backbones.gpt2.config import CheckpointError, read_config


def test_config_dropout_is_ignored(checkpoint: Path) -> None:
    edit_config(checkpoint, attn_pdrop=0.1, resid_pdrop=0.5, embd_pdrop=0.3)
    module = GPT2(weights=str(checkpoint)).build({})
    assert not [m for m in module.modules() if isinstance(m, torch.nn.Dropout)]


@pytest.mark.parametrize("activation", ["gelu_new", "gelu_pytorch_tanh"])
def test_config_both_names_of_gelu_tanh_are_accepted(activation: str, checkpoint: Path) -> None:
    edit_config(checkpoint, activation_function=activation, n_inner=4 * SHAPE.width)
    assert GPT2(weights=str(checkpoint)).hidden_size() == SHAPE.width


def test_config_missing_is_refused(checkpoint: Path) -> None:
    (checkpoint / "config.json").unlink()
    assert_refused(checkpoint, "has no config.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "gpt_neo"),
        ("model_type", None),
        ("activation_function", "relu"),
        ("activation_function", "gelu"),
        ("layer_norm_epsilon", 1e-6),
        ("n_inner", 100),
        ("scale_attn_weights", False),
        ("scale_attn_by_inverse_layer_idx", True),
        ("reorder_and_upcast_attn", True),
        ("add_cross_attention", True),
        ("quantization_config", {"load_in_8bit": True}),
    ],
)
def test_config_unsupported_setting_is_refused_by_name(
    key: str, value: object, checkpoint: Path
) -> None:
    edit_config(checkpoint, **{key: value})
    assert_refused(checkpoint, f"config.json: {key} = {json.dumps(value)}", "expected")


@pytest.mark.parametrize("key", ["n_embd", "n_layer", "n_head", "n_positions", "vocab_size"])
@pytest.mark.parametrize("value", [None, 0, -1, 2.5, "12", True])
def test_config_size_that_is_not_a_whole_number_is_refused(
    key: str, value: object, checkpoint: Path
) -> None:
    edit_config(checkpoint, **{key: value})
    assert_refused(checkpoint, f"config.json: {key}", "a whole number of at least 1")


def test_config_width_not_divisible_by_heads_is_refused(checkpoint: Path) -> None:
    edit_config(checkpoint, n_head=5)
    assert_refused(checkpoint, "n_embd = 48 is not a multiple of n_head = 5")


@pytest.mark.parametrize("text", ["", "{", "[1]", "\ufeff\0", "nul"])
def test_config_broken_file_is_refused(text: str, checkpoint: Path) -> None:
    (checkpoint / "config.json").write_text(text, encoding="utf-8")
    assert_refused(checkpoint, "config.json")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.dictionaries(
        st.sampled_from(["n_embd", "n_layer", "n_head", "n_positions", "n_inner", "model_type"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=2),
            max_leaves=3,
        ),
    )
)
def test_config_any_values_are_read_or_raise_checkpoint_error(
    changes: dict[str, Any], saved: Path
) -> None:
    config = json.loads((saved / "config.json").read_text())
    path = saved / "changed.json"
    path.write_text(json.dumps(config | changes))
    try:
        shape = read_config(path)
    except CheckpointError:
        return
    assert shape.width % shape.attention_heads == 0
