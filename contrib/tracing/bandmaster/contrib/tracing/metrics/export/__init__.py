"""The export of metrics to a collector, with reports of outages and of too many series."""
