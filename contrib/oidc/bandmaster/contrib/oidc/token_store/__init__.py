"""Tokens that are known to this application, and their revocation."""
