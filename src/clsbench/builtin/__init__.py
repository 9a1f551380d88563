"""The built-in plugins. They use only the public API, and no module imports them by name."""
