"""Traces and metrics by OpenTelemetry: requests, WebSockets, tasks, calls, statements, and the application's own start and stop."""
