"""Errors as problem details (RFC 9457): describe, render and answer them."""
