"""Checks of settings that spans and metrics share, for pydantic's validators. Pure."""

from __future__ import annotations

from pydantic import SecretStr

from bandmaster.contrib.tracing.key_values import parse_key_values


def check_endpoint(value: str | None) -> str | None:
    """Check that the address of a collector is a URL of HTTP."""
    if value is not None and not value.startswith(("http://", "https://")):
        raise ValueError("expected a URL that begins with http:// or https://")
    return value


def check_headers(value: SecretStr | None) -> SecretStr | None:
    """Check the form of a list of headers."""
    if value is not None:
        parse_key_values(value.get_secret_value())
    return value


def check_attributes(value: str) -> str:
    """Check the form of a list of attributes."""
    parse_key_values(value)
    return value
