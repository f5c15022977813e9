"""Metrics by OpenTelemetry: requests, tasks, pools and components, by OTLP and for Prometheus."""
