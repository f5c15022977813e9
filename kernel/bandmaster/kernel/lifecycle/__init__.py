"""Run a plan: start, supervise and stop components."""
