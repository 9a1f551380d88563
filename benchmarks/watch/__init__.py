"""The watch over ``pytest benchmarks/``: history, baseline, and whether a change made it slower."""
