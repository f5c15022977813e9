"""Shared by all commands of the audit trail: options, settings, and a store while they work."""

from __future__ import annotations

import getpass
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from bandmaster.kernel.commands import CommandError, resolve_target

if TYPE_CHECKING:
    from bandmaster.contrib.audit.settings import AuditSettings
    from bandmaster.contrib.audit.stores.sql_store import SqlAuditStore
    from bandmaster.contrib.persistence import DatabaseSettings

T = TypeVar("T")

From = Annotated[
    str | None,
    typer.Option(
        "--target",
        help="The application, as module:attribute; without it, the environment names the database.",
        show_default=False,
        metavar="TARGET",
    ),
]
Streams = Annotated[
    list[str] | None,
    typer.Option("--stream", help="Only this stream; may be repeated.", show_default=False, metavar="STREAM"),
]
By = Annotated[
    str | None,
    typer.Option("--by", help="Who does this, for the entry that says so.", show_default="the user of the system"),
]
Reason = Annotated[
    str, typer.Option("--reason", help="Why, for the entry that says so.", show_default=False, metavar="TEXT")
]
Against = Annotated[
    list[str] | None,
    typer.Option(
        "--against",
        help="A file that knows entries: an export, a checkpoint, or a log in JSON; may be repeated.",
        show_default=False,
        metavar="FILE",
    ),
]
CheckpointFile = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        help="The file that remembers how far entries are verified. Written anew after a sound verification.",
        show_default="AUDIT_CHECKPOINT_FILE",
        metavar="FILE",
    ),
]


@dataclass(frozen=True, slots=True)
class Scope:
    """The settings of a command."""

    settings: AuditSettings
    database: DatabaseSettings


def load_scope(target: str | None, app_dir: str) -> Scope:
    """The settings of the audit trail and of its database.

    Raises:
        CommandError: there is no audit trail, or it is in the memory of another process.
    """
    from bandmaster.contrib.audit.settings import AuditSettings

    read = _find_reader(target, app_dir)
    settings: AuditSettings = read(AuditSettings)
    variable = settings.variable("store")
    if settings.store is None:
        raise CommandError(f"{variable} isn't set, so that there is no audit trail.", f"Set {variable} to sql.")
    if settings.store == "memory":
        raise CommandError(
            "The audit trail is only in the memory of the process that records it.",
            f"Set {variable} to sql to keep it in the database.",
        )
    from bandmaster.contrib.persistence import DatabaseSettings

    return Scope(settings, read(DatabaseSettings))


def load_settings_only(target: str | None, app_dir: str) -> AuditSettings:
    """The settings of the audit trail, for work without a database."""
    from bandmaster.contrib.audit.settings import AuditSettings

    settings: AuditSettings = _find_reader(target, app_dir)(AuditSettings)
    return settings


def run_with_store(scope: Scope, action: Callable[[SqlAuditStore], Awaitable[T]], *, as_owner: bool = False) -> T:
    """Open the store, run an action, and close the connections.

    ``as_owner`` connects with ``DATABASE_MIGRATION_URL`` where it is set: the role of the application may not remove
    anything.
    """
    import anyio

    return anyio.run(partial(_act, scope, action, as_owner))


async def _act(scope: Scope, action: Callable[[SqlAuditStore], Awaitable[T]], as_owner: bool) -> T:
    from bandmaster.contrib.audit.chain.keys import ChainKeys
    from bandmaster.contrib.audit.stores.sql_store import SqlAuditStore
    from bandmaster.contrib.persistence import DatabaseManager

    database, settings = scope.database, scope.settings
    if as_owner and database.migration_url is not None:
        database = database.model_copy(update={"url": database.migration_dsn.render_as_string(hide_password=False)})
    manager = DatabaseManager(database, "audit")
    try:
        store = SqlAuditStore(manager, ChainKeys(settings.keys), lock_timeout=settings.lock_timeout)
        return await action(store)
    finally:
        await manager.dispose()


def name_operator(given: str | None) -> str:
    """Who calls the command: the name given, or the user of the system."""
    if given is not None and given.strip():
        return given.strip()
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without an entry for the user
        return "unknown"


def parse_moment(text: str | None, option: str) -> datetime | None:
    """A time of the command line, in UTC unless it says otherwise: ``2026-01-31`` or ``2026-01-31T12:00:00Z``.

    Raises:
        CommandError: the text is no time.
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise CommandError(
            f"{option}: expected a time such as 2026-01-31 or 2026-01-31T12:00:00Z.", misspelt=True
        ) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def require_reason(reason: str) -> str:
    """The reason, which must say something.

    Raises:
        CommandError: it is blank.
    """
    if not reason.strip():
        raise CommandError("--reason: is blank.", "Auditors read it in the entry.", misspelt=True)
    return reason.strip()


def _find_reader(target: str | None, app_dir: str) -> Callable[[type[Any]], Any]:
    """A function that reads settings: those of the target's plan, else from the environment."""
    from bandmaster.kernel import load_application, load_settings

    target, app_dir = resolve_target(target, app_dir)
    plan = None if target is None else load_application(target, app_dir).plan

    def read(kind: type[Any]) -> Any:
        found = None if plan is None else plan.settings_of(kind)
        return load_settings(kind) if found is None else found

    return read
