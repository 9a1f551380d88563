"""The report page: its content is computed as plain values, then rendered as one HTML file."""
