"""The layer that makes the spans of requests and WebSockets."""
