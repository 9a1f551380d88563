"""The cache of frozen layers' activations across runs."""
