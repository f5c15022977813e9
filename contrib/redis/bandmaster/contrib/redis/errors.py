"""Errors of Redis, transient or permanent by whether another try may help."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, cast

from redis import exceptions as known
from redis.asyncio.sentinel import MasterNotFoundError, SlaveNotFoundError

from bandmaster.kernel import BandmasterError, PermanentError, TransientError


class RedisUnavailableError(TransientError):
    """Redis can't be reached, is too slow, is busy or has no room: another try may help.

    Each instance that a client raises is also an instance of redis-py's own class, and has the original as its cause.
    """


class RedisRefusedError(PermanentError):
    """Redis refuses for good: a wrong password, a missing right, a value of another type.

    Each instance that a client raises is also an instance of redis-py's own class, and has the original as its cause.
    """


class RedisClosedError(PermanentError):
    """A client was used after the application had stopped."""


class RedisPoolTimeoutError(RedisUnavailableError, known.ConnectionError):
    """Every connection of the pool is in use, and none came back in time."""


def _make_classes(base: type[Exception], word: str) -> dict[type[Any], type[Any]]:
    """For each of redis-py's exceptions a class that is ``base`` as well, such as ``RefusedResponseError``."""
    kinds: dict[type[Any], type[Any]] = {}
    for kind in _REDIS_PYS:
        name = f"{word}{kind.__name__}"
        about = f"redis-py's ``{kind.__name__}`` that is a `{base.__name__}` as well."
        # pickle looks a class up by its name in the module.
        kinds[kind] = globals()[name] = type(name, (base, kind), {"__doc__": about, "__module__": __name__})
    return kinds


_REDIS_PYS = (
    *(kind for kind in vars(known).values() if isinstance(kind, type) and issubclass(kind, known.RedisError)),
    MasterNotFoundError,
    SlaveNotFoundError,
)
_UNAVAILABLE = _make_classes(RedisUnavailableError, "Unavailable")
_REFUSED = _make_classes(RedisRefusedError, "Refused")

_REFUSALS = (known.AuthenticationError, known.AuthorizationError)
"""Errors of connections that a new connection would repeat."""
_TRANSIENT = (
    known.BusyLoadingError,
    known.ClusterDownError,
    known.ConnectionError,
    known.LockError,
    known.OutOfMemoryError,
    known.ReadOnlyError,
    known.TimeoutError,
    known.TryAgainError,
    known.WatchError,
)
_TRANSIENT_CODES = ("BUSY ", "MISCONF ", "NOREPLICAS ", "UNBLOCKED ")
"""Codes of temporary states for which redis-py has no exceptions."""
_TRANSIENT_TEXTS = ("-OOM ", "-READONLY ", "OOM command not allowed", "READONLY You can't write")
"""Texts by which a script reports that a temporary state refused one of its commands."""
_HANDSHAKE_CUT = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turn redis-py's errors into `RedisUnavailableError` and `RedisRefusedError`, with the original as the cause.

    Clients of this package raise translated errors already. Use this for clients that were made elsewhere::

        with redis_errors():
            await client.get("key")

    Raises:
        RedisUnavailableError: another try may help.
        RedisRefusedError: another try changes nothing.
    """
    try:
        yield
    except known.RedisError as error:
        raise_translated(error)


def raise_translated(error: known.RedisError) -> NoReturn:
    """Raise the translation of an error."""
    raise translate(error)


def translate(error: known.RedisError) -> BaseException:
    """Translate an error to a class that is bandmaster's and redis-py's, with the original as its cause.

    An error of bandmaster's is returned unchanged.
    """
    if isinstance(error, BandmasterError):
        return error
    # On Unix sockets redis-py wraps an error that this package raised during the handshake.
    if isinstance(error.__cause__, BandmasterError):
        return error.__cause__
    kinds = _UNAVAILABLE if _is_transient(error) else _REFUSED
    kind = kinds[next(base for base in type(error).__mro__ if base in kinds)]
    # The class isn't called: some of redis-py's constructors parse their text, and strip it of its code.
    translated = cast("BaseException", kind.__new__(kind, *error.args))
    translated.args = error.args
    vars(translated).update(vars(error))
    translated.__cause__ = error
    return translated


def _is_transient(error: known.RedisError) -> bool:
    if isinstance(error, _REFUSALS):
        return False
    if isinstance(error, _TRANSIENT):
        return not _is_refused_by_system(error.__cause__ or error.__context__)
    text = str(error)
    return text.startswith(_TRANSIENT_CODES) or any(part in text for part in _TRANSIENT_TEXTS)


def _is_refused_by_system(reason: BaseException | None) -> bool:
    if isinstance(reason, ssl.SSLError):
        return not isinstance(reason, _HANDSHAKE_CUT)
    return isinstance(reason, PermissionError)
