"""Find installed parts and load those that are trusted."""
