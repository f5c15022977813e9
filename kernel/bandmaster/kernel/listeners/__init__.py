"""Listeners of the kernel's events: the log, the timeline of a start, the report of a stop."""
