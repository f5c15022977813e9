"""Opaque access tokens: asking their provider what they stand for (RFC 7662)."""
