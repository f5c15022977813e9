"""API keys: generate, verify, revoke and rotate keys, and keep their hashes in a store."""
