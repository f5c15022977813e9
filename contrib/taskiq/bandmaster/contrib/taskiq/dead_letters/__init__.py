"""Dead letters: messages that failed for good, kept with the reason."""
