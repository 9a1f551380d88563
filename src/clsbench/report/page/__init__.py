"""The report: one HTML page of a suite or of any runs, worked out as values, then rendered."""
