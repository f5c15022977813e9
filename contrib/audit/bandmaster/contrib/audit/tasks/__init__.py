"""Name the task in the entries that it writes."""
