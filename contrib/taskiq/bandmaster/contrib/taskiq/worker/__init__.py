"""The worker: receives messages, runs their tasks, acknowledges or retries them."""
