"""One experiment from spec to stored record."""
