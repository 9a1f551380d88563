"""The store of runs: records, predictions, curves, and the table of runs as text."""
