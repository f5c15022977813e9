"""A process that a kernel owns, and the servers it can run."""
