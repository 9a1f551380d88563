"""Environment variables that give options their values."""

ENVIRONMENT = {
    "assets": "CLSBENCH_ASSETS",
    "out": "CLSBENCH_RUNS",
    "curves": "CLSBENCH_CURVES",
    "plugins": "CLSBENCH_PLUGINS",
}
"""The environment variables that provide defaults of options."""
