"""What goes wrong with Redis, sorted by whether another try may help."""

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

    Every one of them that a client raises is also the exception of redis-py that it would have been, and has that one
    as its cause.
    """


class RedisRefusedError(PermanentError):
    """Redis refuses, and will again: a wrong password, a missing right, a value of another type.

    Every one of them that a client raises is also the exception of redis-py that it would have been, and has that one
    as its cause.
    """


class RedisClosedError(PermanentError):
    """A client is used after the application has stopped it."""


class RedisPoolTimeoutError(RedisUnavailableError, known.ConnectionError):
    """Every connection of the pool is in use, and none came back in time."""


def _kinds(base: type[Exception], word: str) -> dict[type[Any], type[Any]]:
    """For each of redis-py's exceptions the one that is ``base`` as well, such as ``RefusedResponseError``."""
    kinds: dict[type[Any], type[Any]] = {}
    for kind in _REDIS_PYS:
        name = f"{word}{kind.__name__}"
        about = f"redis-py's ``{kind.__name__}`` that is a `{base.__name__}` as well."
        # Found by name, so that it can be pickled.
        kinds[kind] = globals()[name] = type(name, (base, kind), {"__doc__": about, "__module__": __name__})
    return kinds


_REDIS_PYS = (
    *(kind for kind in vars(known).values() if isinstance(kind, type) and issubclass(kind, known.RedisError)),
    MasterNotFoundError,
    SlaveNotFoundError,
)
_UNAVAILABLE = _kinds(RedisUnavailableError, "Unavailable")
_REFUSED = _kinds(RedisRefusedError, "Refused")

_REFUSALS = (known.AuthenticationError, known.AuthorizationError)
"""Errors of connections that another connection won't mend."""
_PASSING = (
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
_PASSING_CODES = ("BUSY ", "MISCONF ", "NOREPLICAS ", "UNBLOCKED ")
"""Codes of passing states that redis-py has no exceptions for."""
_PASSING_INSIDE = ("-OOM ", "-READONLY ", "OOM command not allowed", "READONLY You can't write")
"""How scripts tell that a command in them was refused for the time being."""
_HANDSHAKE_CUT = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turn redis-py's errors into `RedisUnavailableError` and `RedisRefusedError`, with the original as the cause.

    The clients of this package do so themselves; this is for clients that were made elsewhere::

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
    """Raise what `translate` makes of an error."""
    raise translate(error)


def translate(error: known.RedisError) -> BaseException:
    """The same failure as an exception of bandmaster's and of redis-py's, with the original as its cause.

    An error that is one already stays as it is.
    """
    if isinstance(error, BandmasterError):
        return error
    # A handshake that failed with one of ours comes wrapped on Unix sockets.
    if isinstance(error.__cause__, BandmasterError):
        return error.__cause__
    kinds = _UNAVAILABLE if _may_pass(error) else _REFUSED
    kind = kinds[next(base for base in type(error).__mro__ if base in kinds)]
    made = cast("BaseException", kind.__new__(kind, *error.args))
    # Not by calling it: some of redis-py's exceptions parse their text, and have stripped it already.
    made.args = error.args
    vars(made).update(vars(error))
    made.__cause__ = error
    return made


def _may_pass(error: known.RedisError) -> bool:
    if isinstance(error, _REFUSALS):
        return False
    if isinstance(error, _PASSING):
        return not _is_refused_by_system(error.__cause__ or error.__context__)
    text = str(error)
    return text.startswith(_PASSING_CODES) or any(part in text for part in _PASSING_INSIDE)


def _is_refused_by_system(reason: BaseException | None) -> bool:
    if isinstance(reason, ssl.SSLError):
        return not isinstance(reason, _HANDSHAKE_CUT)
    return isinstance(reason, PermissionError)
