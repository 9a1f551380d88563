"""Plain structs: experiments, suites, options, records, jobs, read from and written to text."""
