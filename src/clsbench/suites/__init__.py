"""Many experiments that share what they can."""
