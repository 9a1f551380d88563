"""From a corpus to splits of token rows."""
