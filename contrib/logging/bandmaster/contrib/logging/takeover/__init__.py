"""The take-over of the process' logging while an application runs: the standard library, servers, structlog."""
