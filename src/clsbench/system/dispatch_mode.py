"""A mode that sees torch's operations."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode


class DispatchMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Passes operations to ``__torch_dispatch__`` without importing ``torch._dynamo``.

    torch keeps that method out of compiled code; the import takes longer than a dry run's plan.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False
