"""A Redis client that is bounded, probed, guarded after its end, and closed with the application."""
