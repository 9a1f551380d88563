"""The classifier as a torch module, and which of its parameters train."""
