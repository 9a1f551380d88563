"""The contract of a head: logits for any number of classes, independent for each text."""

from __future__ import annotations

from functools import partial

import torch

from clsbench.components.axes import Head
from clsbench.testing.promises import check_options, require
from clsbench.testing.tensors import (
    DTYPES,
    check_built_alike,
    check_gradients,
    check_outline,
    check_output,
    normal,
)

WIDTH = 8


def check_head(head: Head, device: str = "cpu") -> None:
    """Check a head with two classes and more, on batches of several sizes.

    It maps (B, H) to finite (B, C) in the same dtype, with finite gradients. In evaluation mode it
    is deterministic and independent for each text. The seed determines its weights.

    Raises:
        AssertionError: the contract is broken.
    """
    check_options(head)
    for num_classes in (2, 3, 20):
        check_outline(head, partial(head.build, WIDTH, num_classes), normal(4, WIDTH))
        for dtype in DTYPES:
            module = check_built_alike(head, partial(head.build, WIDTH, num_classes))
            module = module.to(device=device, dtype=dtype)
            for texts in (32, 1, 0):
                pooled = normal(texts, WIDTH, dtype=dtype).to(device).requires_grad_()
                logits = check_output(head, module(pooled), (texts, num_classes), pooled)
                require(
                    torch.equal(module(pooled), logits),
                    head,
                    "a second call returns a different result",
                )
                if texts:
                    check_gradients(head, module, logits, pooled)
                    alone = torch.cat([module(row.unsqueeze(0)) for row in pooled])
                    require(
                        torch.allclose(alone, logits, rtol=1e-4, atol=1e-6),
                        head,
                        "a text's logits depend on the other texts of its batch",
                    )
            _check_training_mode(head, module.train(), num_classes, dtype, device)


def _check_training_mode(
    head: Head, module: torch.nn.Module, num_classes: int, dtype: torch.dtype, device: str
) -> None:
    pooled = normal(4, WIDTH, dtype=dtype).to(device).requires_grad_()
    with torch.random.fork_rng(devices=[]):
        logits = check_output(head, module(pooled), (4, num_classes), pooled)
    check_gradients(head, module, logits, pooled)
