"""Seed the global random number generators while a component is called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of Python and NumPy for the block.

    Their states are restored afterwards, so that the caller's random numbers do not depend on the
    block.
    """
    import random

    import numpy as np

    python, numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def torch_seeded(seed: int) -> Iterator[None]:
    """Like :func:`seeded`, and also torch's global generators, on the CPU and every CUDA device."""
    import torch

    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with seeded(seed), torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
