"""Checks that shortcuts return the results of the plain path."""
