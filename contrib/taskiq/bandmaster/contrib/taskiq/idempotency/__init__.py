"""Locks and results by key, so that an action runs once however often a message asks for it."""
