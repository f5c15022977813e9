"""Access tokens of this application itself, for its calls to other services (RFC 6749, section 4.4)."""
