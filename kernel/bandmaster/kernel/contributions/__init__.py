"""Contributions: the descriptions of parts that packages and code give to the kernel."""
