"""Seed the global random number generators while a component is called."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)


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
def torch_generators_restored() -> Iterator[None]:
    """Restore the states of torch's global generators, on the CPU and every CUDA device.

    A device that has failed meanwhile has no state to restore; the block's own error is not hidden
    by another one.
    """
    import torch

    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else range(0)
    on_cpu = torch.get_rng_state()
    states = {device: torch.cuda.get_rng_state(device) for device in devices}
    try:
        yield
    finally:
        torch.set_rng_state(on_cpu)
        for device, state in states.items():
            try:
                torch.cuda.set_rng_state(state, device)
            except RuntimeError as error:
                logger.debug("the generator of cuda:%d is not restored: %s", device, error)


@contextmanager
def torch_seeded(seed: int) -> Iterator[None]:
    """Like :func:`seeded`, and also torch's global generators, on the CPU and every CUDA device."""
    import torch

    with seeded(seed), torch_generators_restored():
        torch.manual_seed(seed)
        yield
