"""Copies of a classifier for the trial, and checksums of the original."""

from __future__ import annotations

import copy
import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clsbench.model.classifier import Classifier


def copy_of(classifier: Classifier) -> Classifier:
    """A deep copy that shares the parameters' memory but not their flags and gradients.

    Raises:
        Exception: a part cannot be copied; the exception is that of the part.
    """
    memo: dict[int, Any] = {}
    twins = []
    for parameter in classifier.parameters():
        if type(parameter) is nn.Parameter:
            twin = nn.Parameter(parameter.detach(), parameter.requires_grad)
            memo[id(parameter)] = twin
            twins.append((parameter, twin))
    copied = copy.deepcopy(classifier, memo)
    for parameter, twin in twins:
        twin.__dict__.update(copy.deepcopy(vars(parameter), memo))
        for name in ("_backward_hooks", "_post_accumulate_grad_hooks"):
            if hooks := getattr(parameter, name, None):
                setattr(twin, name, copy.deepcopy(hooks, memo))
    return copied


@contextmanager
def same_draws(device: torch.device) -> Iterator[None]:
    """Restore the generators of torch, Python and NumPy after the block."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def checksums(classifier: Classifier) -> dict[str, int]:
    """A checksum of each parameter."""
    return {
        name: _checksum(parameter.detach())
        for name, parameter in classifier.named_parameters()
        if parameter.layout == torch.strided and parameter.itemsize in _WHOLE
    }


_COLUMNS = 1021
"""A prime, so that rows of a tensor are not aligned with the columns."""

_WHOLE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _checksum(tensor: Tensor) -> int:
    """A checksum of values and their order, about as fast as reading memory."""
    aligned = tensor.storage_offset() * tensor.itemsize % 8 == 0
    wide = tensor.is_contiguous() and tensor.nbytes % 8 == 0 and aligned
    numbers = tensor.flatten().view(torch.int64 if wide else _WHOLE[tensor.itemsize])
    whole = len(numbers) // _COLUMNS * _COLUMNS
    sums = numbers[:whole].view(-1, _COLUMNS).sum(0, dtype=torch.int64)
    return zlib.crc32(torch.cat([sums, numbers[whole:].long()]).cpu().numpy().data)
