"""Consumers of the kernel's events."""
