"""Login sessions: their fields, and the stores that keep them."""
