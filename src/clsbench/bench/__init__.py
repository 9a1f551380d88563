"""Benchmarking: workloads, sampling, machine peak, and significance of differences."""
