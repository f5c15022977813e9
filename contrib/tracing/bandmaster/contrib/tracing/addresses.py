"""Render addresses without their secrets. Pure."""

from __future__ import annotations


def hide_userinfo(url: str) -> str:
    """A URL without user name and password.

    >>> hide_userinfo("https://team:s3cret@collector:4318/v1/traces")
    'https://collector:4318/v1/traces'
    """
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"
