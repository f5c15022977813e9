"""Spans of what an application does elsewhere: calls, tasks, statements, and Redis commands."""
