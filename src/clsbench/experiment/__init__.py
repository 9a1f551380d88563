"""Run one experiment, from spec to stored record."""
