"""Environment variables that give options their values."""

ENVIRONMENT = {"assets": "CLSBENCH_ASSETS", "out": "CLSBENCH_RUNS", "plugins": "CLSBENCH_PLUGINS"}
"""The environment variables that provide defaults of options."""
