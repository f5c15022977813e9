"""Login sessions: what a session holds, and the stores that keep sessions."""
