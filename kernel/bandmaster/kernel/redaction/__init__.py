"""Secrets in names, texts and values: how they are recognised, and the marker in their place."""
