"""A plugin with heads that raise errors of devices; the device layer is simulated.

The errors are torch's own exceptions. A lost device is simulated by ``Tensor.cpu``, which fails as
it does for tensors of such a device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import pytest
import torch
from torch import Tensor, nn

import clsbench

MEMORY = torch.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB\nSee …"
)
ASSERT = torch.AcceleratorError(
    "CUDA error: device-side assert triggered\nCUDA kernel errors might be reported later"
)
LAUNCH = torch.AcceleratorError("CUDA error: unspecified launch failure")


def out_of_memory() -> NoReturn:
    raise MEMORY


def device_assert() -> NoReturn:
    raise ASSERT


def lost_device() -> NoReturn:
    raise LAUNCH


def large_allocation() -> Tensor:
    """Memory that no machine has; this error is real."""
    return torch.empty(10**15)


def lose_memory(patch: pytest.MonkeyPatch) -> None:
    """Let tensors of the device be unreadable from now on."""
    patch.setattr(torch.Tensor, "cpu", lambda tensor: device_assert())


FAILURES: dict[str, Callable[[], Any]] = {
    each.__name__: each for each in (out_of_memory, device_assert, lost_device, large_allocation)
}


class EndsEarly(clsbench.Head, frozen=True):
    """A linear layer that fails in its eighth training batch, or when it is built."""

    failure: str = ""
    in_build: bool = False
    stateful = True

    def build(self, hidden_size: int, num_classes: int) -> nn.Module:
        """The layer; it counts its training batches."""
        fail = FAILURES[self.failure]

        class Module(nn.Linear):
            batches = 0

            def forward(self, pooled: Tensor) -> Tensor:
                self.batches += self.training and not pooled.is_meta
                if self.batches == 8:
                    fail()
                return super().forward(pooled)

        made = Module(hidden_size, num_classes)
        if self.in_build and not made.weight.is_meta:
            fail()
        return made


class FailsInTraining(clsbench.Head, frozen=True):
    """A linear layer that fails in training, and not in evaluation."""

    failure: str = ""

    def build(self, hidden_size: int, num_classes: int) -> nn.Module:
        """The layer."""
        fail = FAILURES[self.failure]

        class Module(nn.Linear):
            def forward(self, pooled: Tensor) -> Tensor:
                if self.training and not pooled.is_meta:
                    fail()
                return super().forward(pooled)

        return Module(hidden_size, num_classes)


class FailsInSmallBatches(clsbench.Head, frozen=True):
    """A linear layer that fails in training batches of less than eight texts, as the trial has."""

    failure: str = ""

    def build(self, hidden_size: int, num_classes: int) -> nn.Module:
        """The layer."""
        fail = FAILURES[self.failure]

        class Module(nn.Linear):
            def forward(self, pooled: Tensor) -> Tensor:
                if self.training and len(pooled) < 8 and not pooled.is_meta:
                    fail()
                return super().forward(pooled)

        return Module(hidden_size, num_classes)


@clsbench.hookimpl
def clsbench_register_heads() -> Mapping[str, type[clsbench.Head]]:
    return {
        "ends-early": EndsEarly,
        "fails-in-training": FailsInTraining,
        "fails-in-small-batches": FailsInSmallBatches,
    }
