"""Checks that a shortcut gives what the plain path gives."""
