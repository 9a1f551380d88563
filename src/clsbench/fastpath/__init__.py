"""The fast path: what cannot have changed is not computed again, and the results stay the same."""
