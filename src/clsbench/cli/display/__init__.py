"""Display of progress on stderr."""
