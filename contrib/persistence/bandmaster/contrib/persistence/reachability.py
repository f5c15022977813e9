"""Whether a database can be reached, with errors that name host, port and database."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import anyio
from sqlalchemy import URL, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bandmaster.contrib.persistence.errors import DatabaseRefusedError, DatabaseUnavailableError, sqlstate_of
from bandmaster.contrib.persistence.internal_statements import INTERNAL
from bandmaster.contrib.persistence.settings import DatabaseSettings, describe_database
from bandmaster.kernel import PermanentError

# PostgreSQL, Appendix A: invalid authorization, and invalid catalog (database) name.
_REFUSALS = ("28", "3D")
# libpq asks this where nobody listens; `_ask` asks it with the name of the variable.
_LIBPQ_QUESTION = re.compile(r" Is the server running .*\?")


@asynccontextmanager
async def reach(engine: AsyncEngine, settings: DatabaseSettings) -> AsyncIterator[AsyncConnection]:
    """Connect to a database and have it answer, within a bounded time; yields the connection.

    Raises:
        DatabaseUnavailableError: the database doesn't answer in time, or can't be reached.
        DatabaseRefusedError: the database refuses user, password, name or file.
    """
    # One timeout to connect and one to answer. Drivers round up, and close better by themselves than when cancelled.
    seconds = 2 * settings.connect_timeout + 1
    async with AsyncExitStack() as stack:
        try:
            with anyio.fail_after(seconds), translated_reach(settings.dsn, settings):
                connection = await stack.enter_async_context(engine.connect())
                if not settings.is_postgresql:
                    # PostgreSQL has answered several queries while connecting; SQLite opens its file at the first.
                    await answer(connection)
        except TimeoutError as error:
            raise DatabaseUnavailableError(
                f"{describe_database(settings.dsn)} doesn't answer within {seconds:g} s{_ask(settings)}"
            ) from error
        yield connection


async def answer(connection: AsyncConnection) -> None:
    """Have the database answer a query. In SQLite in memory the application's engine runs it, so it has a mark."""
    await connection.execute(text("SELECT 1"), execution_options=INTERNAL)


@contextmanager
def translated_reach(url: URL, settings: DatabaseSettings | None = None) -> Iterator[None]:
    """Raise each error of the block as one that names the database; ``settings`` add a hint at variables to change.

    Raises:
        DatabaseUnavailableError: another try may help.
        DatabaseRefusedError: another try changes nothing.
    """
    try:
        yield
    except Exception as error:
        cause = error.__cause__ or error
        reason = _LIBPQ_QUESTION.sub("", " ".join(str(cause).split())).rstrip(".") or type(cause).__name__
        # SQLAlchemy 2.0 raises asyncpg's own errors unchanged.
        if isinstance(error, PermanentError) or (sqlstate_of(error) or "").startswith(_REFUSALS):
            hint = "" if settings is None else _hint(settings, reason)
            raise DatabaseRefusedError(f"{describe_database(url)} can't be used: {reason}{hint}") from error
        question = "" if settings is None else _ask(settings)
        raise DatabaseUnavailableError(f"{describe_database(url)} can't be reached: {reason}{question}") from error


@contextmanager
def naming_variable(variable: str) -> Iterator[None]:
    """Name the variable with the URL in the errors of a block that knows only the URL.

    Raises:
        DatabaseUnavailableError, DatabaseRefusedError: those of the block.
    """
    try:
        yield
    except (DatabaseUnavailableError, DatabaseRefusedError) as error:
        raise type(error)(f"{str(error).rstrip('.')}. Is {variable} right?") from error


def _hint(settings: DatabaseSettings, reason: str) -> str:
    if "unsupported startup parameter" in reason:
        return f". If PgBouncer stands before it, set {settings.variable('pgbouncer')}=true"
    if settings.file is None:
        return f". Is {settings.variable('url')} right?"
    folder = settings.file.absolute().parent
    if not folder.is_dir():
        return f". The folder {folder} doesn't exist. Is {settings.variable('url')} right?"
    return f". See whether {folder} can be written to, or set {settings.variable('url')} to another file"


def _ask(settings: DatabaseSettings) -> str:
    return f". Does it run, and is {settings.variable('url')} right?"
