"""Errors of databases, transient or permanent by whether another try may help."""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import exc
from sqlalchemy.engine import ExceptionContext

from bandmaster.kernel import PermanentError, TransientError


class DatabaseUnavailableError(TransientError):
    """The database can't be reached, or has no room for another connection."""


class DatabaseRefusedError(PermanentError):
    """The database refuses the user, the password, the name or the file of the settings."""


class DatabaseClosedError(PermanentError):
    """A manager was used after the application had stopped."""


class TenantMissingError(PermanentError):
    """A transaction was to begin without a tenant."""


class TenantIsolationError(PermanentError):
    """Tenants could see each other's rows; the message lists every way that was found."""


class _DriverError(Exception):
    orig: BaseException | None

    @property
    def sqlstate(self) -> str | None:
        """PostgreSQL's error code, if the server sent one."""
        return sqlstate_of(self.orig)


class TransientDatabaseError(_DriverError, TransientError):
    """A statement or a connection failed, and another try may succeed.

    Each instance is also an instance of SQLAlchemy's own class, such as ``OperationalError``; ``__cause__`` is the
    driver's exception.
    """

    @property
    def lost_a_race(self) -> bool:
        """Whether the transaction was rolled back in favour of another one, and can be run again."""
        return self.sqlstate in _RACES or _sqlite_code(self.orig) in _SQLITE_BUSY


class PermanentDatabaseError(_DriverError, PermanentError):
    """A statement or a connection failed for good, for example by a violated constraint.

    Each instance is also an instance of SQLAlchemy's own class, such as ``IntegrityError``; ``__cause__`` is the
    driver's exception.
    """


class PoolTimeoutError(TransientError, exc.TimeoutError):
    """Every connection of the pool is in use, and none came back in time."""

    # Without a code SQLAlchemy adds no link to its pages; this message says what to do.
    code = None


def _make_classes(base: type[Exception], word: str) -> dict[type[Any], type[Any]]:
    """For each of SQLAlchemy's exceptions a class that is ``base`` as well, such as ``TransientOperationalError``."""
    kinds: dict[type[Any], type[Any]] = {}
    for kind in _SQLALCHEMYS:
        name = f"{word}{kind.__name__}" if kind is not exc.DatabaseError else f"{word}OtherDatabaseError"
        about = f"SQLAlchemy's ``{kind.__name__}`` that is a `{base.__name__}` as well."
        # pickle looks a class up by its name in the module.
        kinds[kind] = globals()[name] = type(name, (base, kind), {"__doc__": about, "__module__": __name__})
    return kinds


_SQLALCHEMYS = (
    exc.DBAPIError,
    exc.DatabaseError,
    exc.OperationalError,
    exc.InterfaceError,
    exc.InternalError,
    exc.ProgrammingError,
    exc.IntegrityError,
    exc.DataError,
    exc.NotSupportedError,
)
_TRANSIENT = _make_classes(TransientDatabaseError, "Transient")
_PERMANENT = _make_classes(PermanentDatabaseError, "Permanent")

# PostgreSQL, Appendix A: serialization_failure and deadlock_detected.
_RACES = frozenset(("40001", "40P01"))
_TRANSIENT_CLASSES = ("08", "40", "53")
"""Classes of codes: connections, forced rollbacks, exhausted resources."""
_TRANSIENT_STATES = frozenset(
    (
        "25006",  # read-only: the primary has become a replica
        "55P03",  # a lock isn't available within lock_timeout
        "57014",  # cancelled: statement_timeout, or an administrator
        "57P01",  # the server is shut down, or an administrator ended the connection
        "57P02",  # another backend crashed
        "57P03",  # the server is starting or stopping
        "57P05",  # the session idled for too long
    )
)
_SQLITE_BUSY = frozenset((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED))
_SQLITE_PERMANENT = frozenset((sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOTADB))
_REFUSALS = (
    "authentication failed",
    "no pg_hba.conf entry",
    "does not exist",
    "is not permitted to log in",
    "permission denied",
    "no password supplied",
    "certificate",
    "unsupported frontend protocol",
    "unsupported startup parameter",
    "unrecognized configuration parameter",
    "invalid value for parameter",
)
"""Texts by which PostgreSQL refuses a connection; libpq passes on the text without the code."""


def translate(context: ExceptionContext) -> BaseException | None:
    """Translate a driver's error to a class that is bandmaster's and SQLAlchemy's; listens to ``handle_error``."""
    known = context.sqlalchemy_exception
    if not isinstance(known, exc.DBAPIError):
        return None
    lost = context.is_disconnect or context.connection is None
    kinds = _TRANSIENT if _is_transient(known.orig, lost=lost) else _PERMANENT
    translated: BaseException = kinds.get(type(known), kinds[exc.DBAPIError])(
        known.statement,
        known.params,
        known.orig,
        hide_parameters=known.hide_parameters,
        connection_invalidated=known.connection_invalidated,
        code=known.code,
        ismulti=known.ismulti,
    )
    return translated


def unreachable(error: OSError) -> TransientDatabaseError:
    """The network's error while connecting, as a transient error of the database."""
    translated: TransientDatabaseError = _TRANSIENT[exc.OperationalError](None, None, error)
    return translated


def sqlstate_of(error: BaseException | None) -> str | None:
    """PostgreSQL's error code, from an exception of any of its drivers."""
    state = getattr(error, "sqlstate", None)
    if state is None and error is not None:
        # SQLAlchemy wraps asyncpg's exception, which has the code.
        state = getattr(error.__cause__, "sqlstate", None)
    return state if isinstance(state, str) else None


def _sqlite_code(error: BaseException | None) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else None


def _is_transient(cause: BaseException | None, *, lost: bool) -> bool:
    if lost and any(refusal in str(cause) for refusal in _REFUSALS):
        return False
    if state := sqlstate_of(cause):
        return state[:2] in _TRANSIENT_CLASSES or state in _TRANSIENT_STATES
    if code := _sqlite_code(cause):
        return code in _SQLITE_BUSY or (lost and code not in _SQLITE_PERMANENT)
    return lost
