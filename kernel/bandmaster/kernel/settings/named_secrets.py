"""Settings that are several secrets by id, so that a secret can be replaced: ``2026=secret,2025=secret``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_core import from_json
from pydantic_settings import NoDecode

MIN_SECRET = 32
"""Characters of a secret, at least: 128 bits in hexadecimal."""
MAKE_SECRET = "python -c 'import secrets; print(secrets.token_urlsafe(32))'"  # noqa: S105  # a command
_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")


def parse_named_secrets(value: object) -> object:
    """The secrets by id of a text such as ``2026=secret,2025=secret``; a JSON object means the same.

    Raises:
        ValueError: an entry has another form, or an id is given twice. The message doesn't quote the text.
    """
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("{"):
        return from_json(value)
    found: dict[str, str] = {}
    for number, entry in enumerate((part for part in value.split(",") if part.strip()), start=1):
        name, sign, secret = (part.strip() for part in entry.partition("="))
        if not (name and sign and secret):
            raise ValueError(f"expected id=secret with commas in between; entry {number} has another form")
        if name in found:
            raise ValueError(f"the id of entry {number} is given twice")
        found[name] = secret
    return found


def check_named_secrets(value: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
    """Check ids and secrets.

    Raises:
        ValueError: an id has other characters, a secret is short, or is there twice. The message quotes neither.
    """
    for number, (name, secret) in enumerate(value.items(), start=1):
        if not _ID.fullmatch(name):
            raise ValueError(f"the id of entry {number} isn't made of up to 32 letters, digits, - and _")
        if len(secret.get_secret_value()) < MIN_SECRET:
            raise ValueError(f"entry {number} is shorter than {MIN_SECRET} characters. Make one with: {MAKE_SECRET}")
    if len({secret.get_secret_value() for secret in value.values()}) < len(value):
        raise ValueError("one secret stands under several ids, so that removing one of them changes nothing")
    return value


NamedSecrets: TypeAlias = Annotated[
    Mapping[str, SecretStr], NoDecode, BeforeValidator(parse_named_secrets), AfterValidator(check_named_secrets)
]
"""The type of a field that is set by a list of ``id=secret``."""
