"""Activations of frozen layers, kept across runs."""
