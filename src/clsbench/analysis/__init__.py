"""What stored results mean: metrics, intervals, paired tests, rankings."""
