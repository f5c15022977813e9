"""Entries for logins and refusals, from the events of bandmaster-oidc."""
