"""A small OpenID provider for development: anyone may log in as any of its users."""
