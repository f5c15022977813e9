"""How tracing and metrics follow messages and tasks, from the sending to the last attempt."""
