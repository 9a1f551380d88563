"""Metrics with their intervals, and the store of runs."""
