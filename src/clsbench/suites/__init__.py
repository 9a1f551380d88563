"""Plan and run suites of experiments that share runs and cached activations."""
