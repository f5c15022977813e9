"""Search everything that the tests print and log for the secrets that they use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from unittest import mock

import pytest
from pydantic import SecretStr

SECRETS = pytest.StashKey[set[str]]()
"""The key under which a test's item has the secrets that the test uses."""
_SHORTEST = 8
"""Shorter secrets appear in other words by chance."""


@contextmanager
def recording_secrets() -> Iterator[set[str]]:
    """The secrets whose values are read until the block ends; it fills while the code runs."""
    seen: set[str] = set()
    read = SecretStr.get_secret_value

    def record(secret: SecretStr) -> str:
        value = read(secret)
        if len(value) >= _SHORTEST:
            seen.add(value)
        return value

    with mock.patch.object(SecretStr, "get_secret_value", record):
        yield seen


def find_shown(secrets: Iterable[str], texts: Iterable[str]) -> list[str]:
    """The beginnings of the secrets that stand in one of the texts."""
    whole = "\n".join(texts)
    return [f"{secret[:4]}..." for secret in sorted(secrets) if secret in whole]
