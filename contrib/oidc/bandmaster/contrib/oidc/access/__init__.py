"""Who may call: find the credential of a request, and require scopes."""
