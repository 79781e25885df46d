"""A report as other platforms read it: one module a format, each a pure function from report to text."""
