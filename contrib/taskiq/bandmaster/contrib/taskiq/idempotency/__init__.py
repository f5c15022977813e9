"""Locks and results by key, so that an action runs once for several equal messages."""
