"""Gradients of embedding tables, without a table of zeros in every step.

A batch reads a few rows of a table, yet torch makes its gradient as large as the table: for GPT-2's
tokens 154 MB of fresh zeros in each backward pass, a twelfth of a CPU's step in which all layers
train. A sparse gradient holds the rows that were read; here it becomes the same dense one in memory
that is used again and again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def rows_of_gradients(classifier: nn.Module) -> Iterator[RowGradients]:
    """Have the tables of ``classifier`` that lie on the CPU give the gradients of their rows alone.

    :meth:`RowGradients.spread` is to be called before anything reads the gradients. Tables that
    have hooks, or that clip or scale by themselves, stay as they are.
    """
    embeddings = [module for module in classifier.modules() if type(module) is nn.Embedding]
    tables = [embedding for embedding in embeddings if _is_plain(embedding)]
    for table in tables:
        table.sparse = True
    try:
        yield RowGradients(tables)
    finally:
        for table in tables:
            table.sparse = False


class RowGradients:
    """Gradients that hold the rows of a table that were read."""

    def __init__(self, tables: Iterable[nn.Embedding] = ()) -> None:
        self._weights = list({id(table.weight): table.weight for table in tables}.values())
        self._dense: dict[int, Tensor] = {}
        self._written: dict[int, Tensor] = {}

    def spread(self) -> None:
        """Make every gradient (V, H) dense; of one batch it is bitwise what torch gives."""
        for weight in self._weights:
            gradient = weight.grad
            if gradient is None or not gradient.is_sparse:
                continue  # frozen, or the table is also read in another way
            rows, values = gradient._indices()[0], gradient._values()
            dense = self._dense.get(id(weight))
            if dense is None:
                dense = self._dense[id(weight)] = torch.zeros_like(weight)
            else:
                dense[self._written[id(weight)]] = 0.0
            weight.grad = dense.index_add_(0, rows, values)
            self._written[id(weight)] = rows


def _is_plain(table: nn.Embedding) -> bool:
    weight = table.weight
    return (
        isinstance(weight, nn.Parameter)
        and not table._forward_pre_hooks  # such as make the weight anew
        and not (table.sparse or table.scale_grad_by_freq or table.max_norm)
        and weight.device.type == "cpu"
        and not (weight._backward_hooks or weight._post_accumulate_grad_hooks)
    )
