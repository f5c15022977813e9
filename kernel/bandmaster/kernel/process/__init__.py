"""Processes that run a kernel: the launcher with its servers, and processes without a server."""
