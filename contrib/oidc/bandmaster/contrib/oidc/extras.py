"""Which optional distributions are installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

REDIS = "auth_redis"
"""The name of the client that sessions and revoked tokens share, and of the provided `Redis`."""

_PACKAGES = {"bcrypt": "bcrypt", "redis": "bandmaster.contrib.redis", "sql": "bandmaster.contrib.persistence"}


def has_extra(extra: str) -> bool:
    """Whether the package of an extra of this distribution is installed."""
    try:
        return importlib.util.find_spec(_PACKAGES[extra]) is not None
    except (ImportError, ValueError):  # a package around it is missing, or tests have removed the package
        return False


@contextmanager
def naming_extra(extra: str) -> Iterator[None]:
    """Name the extra in the error of an import that needs one.

    Raises:
        ImportError: the import fails; the message says how to install the extra.
    """
    try:
        yield
    except ImportError as error:
        raise ImportError(f"{error}; install the extra: pip install 'bandmaster-oidc[{extra}]'") from error


def check_extra(extra: str, purpose: str) -> None:
    """Check that an extra is installed.

    Raises:
        ValueError: the extra isn't installed; the message has the command.
    """
    if not has_extra(extra):
        raise ValueError(f"{purpose} needs an extra: pip install 'bandmaster-oidc[{extra}]'")
