"""Errors of Alembic, drivers and revisions, raised as `MigrationError`."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from bandmaster.contrib.persistence.migration.branches import MigrationError, Migrations
from bandmaster.contrib.persistence.migration.locking import MigrationLockedError


@contextmanager
def translated_failures(summary: str, parts: Sequence[Migrations], done: Sequence[object] = ()) -> Iterator[None]:
    """Raise each error of the block as a `MigrationError` that begins with ``summary``.

    The message names the line of the part's revision that failed, and lists ``done``, the revisions that were applied
    before.

    Raises:
        MigrationError: an error of Alembic, of a driver or of a revision.
        MigrationLockedError: unchanged.
    """
    try:
        yield
    except (MigrationError, MigrationLockedError):
        raise
    except Exception as error:
        message = f"{summary}{_find_place(error, parts)}: {_render_cause(error)}"
        if done:
            message += f". Before it, these succeeded: {', '.join(map(str, done))}"
        raise MigrationError(message) from error


def _find_place(error: BaseException, parts: Sequence[Migrations]) -> str:
    folders = {str(part.folder): part for part in parts}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if part := folders.get(str(Path(frame.filename).parent)):
            return f" in {part.name!r}, {frame.filename}:{frame.lineno}, {frame.name}"
    return ""


def _render_cause(error: BaseException) -> str:
    # The driver's message alone: SQLAlchemy's repeats the statement and its values.
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    text = " ".join(str(cause).split())
    if match := re.match(r"Can't locate revision identified by '(\w+)'", text):
        return (
            f"the database is at revision {match[1]!r}, or you named it, and no part has it. Was a part removed before "
            "its migrations were undone? Install it again; or is this older code than the database's?"
        )
    return f"{type(cause).__name__}: {text}" if text else type(cause).__name__
