"""The embedded weights: written and read."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

WEIGHTS_FILE = "model.safetensors"


def save_weights(module: nn.Module, folder: Path) -> None:
    """Store the parameters of ``module`` in ``folder``, in bfloat16."""
    state = {
        name: parameter.detach().to(torch.bfloat16).contiguous()
        for name, parameter in module.named_parameters()
    }
    save_file(state, folder / WEIGHTS_FILE)


def load_weights(module: nn.Module, folder: Path) -> None:
    """Read what :func:`save_weights` wrote into ``module``, which computes in float32."""
    state = load_file(folder / WEIGHTS_FILE)
    module.load_state_dict({name: tensor.to(torch.float32) for name, tensor in state.items()})
