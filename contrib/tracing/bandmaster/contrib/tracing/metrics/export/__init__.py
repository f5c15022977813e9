"""The export of metrics to a collector, and what is watched on the way."""
