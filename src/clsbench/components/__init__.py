"""The axes of an experiment, the hooks that register components, and how a spec finds them."""
