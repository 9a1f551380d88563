"""Seeded calls of components that may draw random numbers from the global generators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of Python and NumPy for the block.

    Their states are restored after it, so that the caller's own random numbers do not depend on
    what was called here.
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
    """:func:`seeded`, and torch's global generators as well, on every device of CUDA."""
    import torch

    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with seeded(seed), torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
