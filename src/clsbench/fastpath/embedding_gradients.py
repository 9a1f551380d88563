"""Dense gradients of embedding tables in reused memory.

A batch reads few rows of a table, but torch allocates a gradient of the table's size: for GPT-2's
token embeddings 154 MB of zeros in each backward pass, a twelfth of a CPU step that trains all
layers. Here, the backward pass makes a sparse gradient of the rows that were read, which is then
copied into a dense gradient whose memory is reused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def rows_of_gradients(classifier: nn.Module) -> Iterator[RowGradients]:
    """Make embedding tables of ``classifier`` on the CPU return sparse gradients.

    Call :meth:`RowGradients.spread` before reading the gradients. Tables with hooks, ``max_norm``
    or ``scale_grad_by_freq`` are not changed.
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
    """Sparse gradients of embedding tables, to be made dense."""

    def __init__(self, tables: Iterable[nn.Embedding] = ()) -> None:
        self._weights = list({id(table.weight): table.weight for table in tables}.values())
        self._dense: dict[int, Tensor] = {}
        self._written: dict[int, Tensor] = {}

    def spread(self) -> None:
        """Make every gradient (V, H) dense; for one batch it is bitwise equal to torch's own."""
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
        and not table._forward_pre_hooks  # these may replace the weight
        and not (table.sparse or table.scale_grad_by_freq or table.max_norm)
        and weight.device.type == "cpu"
        and not (weight._backward_hooks or weight._post_accumulate_grad_hooks)
    )
