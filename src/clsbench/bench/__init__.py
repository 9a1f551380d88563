"""Timing that can be trusted: of what, how, on what machine, and what a difference is worth."""
