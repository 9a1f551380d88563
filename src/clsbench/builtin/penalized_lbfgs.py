"""L-BFGS with weight decay."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class PenalizedLBFGS(torch.optim.LBFGS):
    """torch's L-BFGS of the closure's loss plus ``weight_decay / 2`` times the sum of squares.

    torch's own has no weight decay.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        weight_decay: float,
        iterations: int,
        history: int,
        line_search: str | None,
    ) -> None:
        super().__init__(
            groups,
            max_iter=iterations,
            history_size=history,
            line_search_fn=line_search,
        )
        self._weight_decay = weight_decay

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Take up to ``iterations`` steps; returns the first loss, with its penalty."""

        def penalized() -> Tensor:
            loss = closure()
            with torch.no_grad():
                for parameter in self.param_groups[0]["params"]:
                    if self._weight_decay and parameter.grad is not None:
                        loss = loss + self._weight_decay / 2 * parameter.square().sum()
                        parameter.grad.add_(parameter, alpha=self._weight_decay)
            return loss

        first: Tensor = super().step(penalized)  # type: ignore[no-untyped-call]
        return first
