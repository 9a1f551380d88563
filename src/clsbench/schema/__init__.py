"""The plain data structures: experiments, suites, options, records and jobs, and their text
forms."""
