"""Entries for what bandmaster-oidc tells about logins and refusals."""
