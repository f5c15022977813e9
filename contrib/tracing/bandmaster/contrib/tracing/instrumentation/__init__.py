"""Spans of work elsewhere: HTTP calls, tasks, database statements, and Redis commands."""
