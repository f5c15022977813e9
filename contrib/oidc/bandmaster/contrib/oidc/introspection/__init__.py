"""Opaque access tokens, which their provider is asked about (RFC 7662)."""
