"""The built-in plugins. They use the public API alone, and nothing imports them by name."""
