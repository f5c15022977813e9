"""Brokers other than the leased stream, and the message handle that all of them give to a worker."""
