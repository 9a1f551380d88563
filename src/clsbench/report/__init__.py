"""Terminal output, the report page and plots."""
