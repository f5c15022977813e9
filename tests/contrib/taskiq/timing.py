"""Bounds of waits that a busy machine keeps, too."""

PATIENCE = 20
"""Seconds after which a wait has failed. Less than 30, the lease of tests in which no lease expires."""
AT_ONCE = 4
"""Seconds within which an event happens at once. Less than 5, the longest blocking read, after which workers look for
delayed and released messages without a wakeup.
"""
