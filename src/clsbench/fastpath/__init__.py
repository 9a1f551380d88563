"""The fast path: skip computations whose results cannot change, with the same results."""
