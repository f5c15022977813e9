"""Turn the errors of a store's client into this package's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bandmaster.contrib.oidc.errors import AuthError, AuthUnavailableError
from bandmaster.kernel import BandmasterError


@contextmanager
def store_errors(store: str, kind: type[AuthUnavailableError] = AuthUnavailableError) -> Iterator[None]:
    """Raise ``kind`` in place of any error of the store's client, with the original as its cause.

    Also errors that are permanent for the client, such as a wrong password: the store can say nothing about a
    credential until somebody mends them, so the credential can't be refused.
    """
    try:
        yield
    except AuthError:
        raise
    except BandmasterError as error:
        raise kind(f"{store} can't be used now: {type(error).__name__}") from error
