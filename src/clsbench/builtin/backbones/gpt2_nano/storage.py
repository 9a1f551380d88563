"""Reads the embedded weights."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

WEIGHTS_FILE = "model.safetensors"


def load_weights(module: nn.Module, folder: Path) -> None:
    """Read the weights, stored in bfloat16, into ``module``, which computes in float32."""
    state = load_file(folder / WEIGHTS_FILE)
    module.load_state_dict({name: tensor.to(torch.float32) for name, tensor in state.items()})
