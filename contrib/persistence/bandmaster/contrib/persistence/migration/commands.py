"""``bandmaster db``: make, apply, undo and check the migrations of all installed parts."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias, TypeVar

import typer

from bandmaster.kernel.commands import PROBLEM, Answer, AppDir, Format, answering, put_first, show_json

if TYPE_CHECKING:
    from sqlalchemy import URL

    from bandmaster.contrib.persistence.migration.branches import Migrations
    from bandmaster.contrib.persistence.migration.migrate import Revision
    from bandmaster.kernel import Plan

T = TypeVar("T")

Target: TypeAlias = Annotated[
    str | None,
    typer.Argument(
        help="Whose migrations, as module:attribute: an application, or a function that returns one. Without it: "
        "everything that is installed.",
        show_default=False,
        metavar="TARGET",
    ),
]
Url: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="The database, instead of DATABASE_MIGRATION_URL or DATABASE_URL. Other users of this machine may see it.",
        show_default=False,
        metavar="URL",
    ),
]
Part: TypeAlias = Annotated[
    str | None, typer.Option("--part", help="The part that it is about.", show_default=False, metavar="NAME")
]
Timeout: TypeAlias = Annotated[
    float, typer.Option("--lock-timeout", help="Seconds to wait for another process that migrates.", metavar="SECONDS")
]
Sql: TypeAlias = Annotated[bool, typer.Option("--sql", help="Print the SQL, and run nothing.", show_default=False)]

db = typer.Typer(
    name="db",
    help="Make, apply, undo and check the migrations of all installed parts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@db.command()
def init(
    package: Annotated[str, typer.Argument(help="The package to make a folder in.", metavar="PACKAGE")],
    answer: Answer = Format.TEXT,
    app_dir: AppDir = ".",
) -> None:
    """Make the folder for a part's migrations, and say how the part brings them."""
    with answering(answer):
        from bandmaster.contrib.persistence.migration.new_revisions import FOLDER, make_folder

        put_first(app_dir)
        made = make_folder(package)
        name = package.rpartition(".")[2]
        told = _HOW.format(made=made, package=package, name=name, folder=FOLDER)
        _say(answer, told, {"folder": str(made), "part": name, "location": f"{package}:{FOLDER}"})


@db.command()
def revision(
    message: Annotated[str, typer.Option("--message", "-m", help="What it does.", metavar="TEXT")],
    target: Target = None,
    part: Part = None,
    autogenerate: Annotated[
        bool, typer.Option("--autogenerate", help="Write what the part's models need.", show_default=False)
    ] = False,
    url: Url = None,
    answer: Answer = Format.TEXT,
    app_dir: AppDir = ".",
) -> None:
    """Write a part's next revision. Only --autogenerate asks the database."""
    with answering(answer):
        from bandmaster.contrib.persistence.migration.new_revisions import generate_revision, write_revision

        look = _look(target, app_dir, url)
        name = _one(look.parts, part)
        if autogenerate:
            written = _run(generate_revision, look.database(), look.parts, name, message)
        else:
            written = write_revision(look.parts, name, message)
        told = f"Wrote {written}" if written else f"The database is what the models of {name!r} say: nothing to write."
        _say(answer, told, {"file": str(written) if written else None})


@db.command()
def upgrade(
    target: Target = None,
    to: Annotated[str, typer.Option("--to", help="A revision, or heads.", metavar="REVISION")] = "heads",
    part: Part = None,
    sql: Sql = False,
    url: Url = None,
    lock_timeout: Timeout = 60,
    answer: Answer = Format.TEXT,
    app_dir: AppDir = ".",
) -> None:
    """Apply what is pending. Several processes may do so at once: one works, the others wait."""
    with answering(answer):
        from bandmaster.contrib.persistence.migration import migrate as migrating

        look = _look(target, app_dir, url)
        wanted = to if part is None else f"{_one(look.parts, part)}@{'head' if to == 'heads' else to}"
        if sql:
            script = migrating.script(look.database(), look.parts, wanted)
            _say(answer, script.rstrip("\n"), {"sql": script})
            return
        done = _run(migrating.upgrade, look.database(), look.parts, wanted, lock_timeout=_seconds(lock_timeout))
        told = [*(f"Applied {one}" for one in done)] or ["Nothing is pending."]
        _say(answer, "\n".join(told), {"applied": [_json(one) for one in done]})


@db.command()
def downgrade(
    to: Annotated[
        str, typer.Option("--to", help="What remains: a revision, -1, or base.", metavar="REVISION", show_default=False)
    ],
    target: Target = None,
    part: Part = None,
    sql: Sql = False,
    url: Url = None,
    lock_timeout: Timeout = 60,
    answer: Answer = Format.TEXT,
    app_dir: AppDir = ".",
) -> None:
    """Undo revisions, down to the one that is named. With --sql it is a range, from:to."""
    with answering(answer):
        from bandmaster.contrib.persistence.migration import migrate as migrating

        look = _look(target, app_dir, url)
        wanted = to if part is None else f"{_one(look.parts, part)}@{to}"
        if sql:
            script = migrating.script(look.database(), look.parts, wanted, down=True)
            _say(answer, script.rstrip("\n"), {"sql": script})
            return
        done = _run(migrating.downgrade, look.database(), look.parts, wanted, lock_timeout=_seconds(lock_timeout))
        told = [*(f"Undid {one}" for one in done)] or ["There was nothing to undo."]
        _say(answer, "\n".join(told), {"undone": [_json(one) for one in done]})


@db.command()
def current(target: Target = None, url: Url = None, answer: Answer = Format.TEXT, app_dir: AppDir = ".") -> None:
    """Tell how far the database is, part by part."""
    with answering(answer):
        from bandmaster.contrib.persistence.migration import migrate as migrating

        look = _look(target, app_dir, url)
        found = _run(migrating.state, look.database(), look.parts)
        lines: list[str] = []
        for part in look.parts:
            at = [one for one in found.current if one.part == part.name]
            waiting = sum(one.part == part.name for one in found.pending)
            lines += [f"{one}{f' ({waiting} pending)' if waiting else ''}" for one in at]
            lines += [] if at else [f"{part.name}: nothing applied ({waiting} pending)"]
        lines += [f"unknown {name}" for name in found.unknown]
        _say(
            answer,
            "\n".join(lines),
            {
                "current": [_json(one) for one in found.current],
                "pending": [_json(one) for one in found.pending],
                "unknown": list(found.unknown),
            },
        )


@db.command()
def check(target: Target = None, url: Url = None, answer: Answer = Format.TEXT, app_dir: AppDir = ".") -> None:
    """See whether the database has all migrations, and is what the models say. Exits with 1 where it isn't."""
    with answering(answer):
        from bandmaster.contrib.persistence.migration import migrate as migrating

        look = _look(target, app_dir, url)
        found = _run(migrating.state, look.database(), look.parts)
        upgraded = not found.pending and not found.unknown
        # What is pending would come out as a difference once more.
        differing = _run(migrating.differences, look.database(), look.parts) if upgraded else ()
        lines = [f"{_count(found.pending, 'revision')} pending:"] if found.pending else []
        lines += [f"  - {one}" for one in found.pending]
        lines += [
            f"The database is at {name}, which no part knows: of a part removed, or newer." for name in found.unknown
        ]
        lines += [f"Models and database differ in {_count(differing, 'place')}:"] if differing else []
        lines += [f"  - {one}" for one in differing]
        _say(
            answer,
            "\n".join(lines or ["The database has all migrations, and is what the models say."]),
            {
                "pending": [_json(one) for one in found.pending],
                "unknown": list(found.unknown),
                "differences": list(differing),
            },
            ok=not lines,
        )
        if lines:
            raise typer.Exit(PROBLEM)


@db.command()
def history(target: Target = None, part: Part = None, answer: Answer = Format.TEXT, app_dir: AppDir = ".") -> None:
    """List all revisions, in an order in which they can be applied. No database is asked."""
    with answering(answer):
        from bandmaster.contrib.persistence.migration import migrate as migrating

        look = _look(target, app_dir, None)
        name = None if part is None else _one(look.parts, part)
        found = [one for one in migrating.history(look.parts) if name in (None, one.part)]
        _say(
            answer,
            "\n".join(map(str, found)) or "There are no revisions yet.",
            {"revisions": [{**_json(one), "file": str(one.path)} for one in found]},
        )


class _Look(NamedTuple):
    """What a command works on."""

    parts: tuple[Migrations, ...]
    database: Callable[[], URL]
    """Asked for late: not every command has a database."""


def _look(target: str | None, app_dir: str, url: str | None) -> _Look:
    from bandmaster.contrib.persistence.migration.branches import MigrationError, collect
    from bandmaster.contrib.persistence.migration.connection import database_url
    from bandmaster.kernel import load_application

    try:
        named = None if url is None else database_url(url)
    except ValueError as error:
        raise typer.BadParameter(str(error).removeprefix("url: "), param_hint="--url") from error
    plan = load_application(target, app_dir).plan
    parts = collect(plan)
    if not parts:
        raise MigrationError(
            f"{target or 'what is installed'} brings no migrations: a part does by an entry point of "
            "bandmaster.lifespan, as 'bandmaster db init' shows; is it installed anew since it has one?"
        )
    return _Look(parts, lambda: named or _configured(plan))


def _configured(plan: Plan) -> URL:
    from pydantic import ValidationError

    from bandmaster.contrib.persistence.migration.branches import MigrationError
    from bandmaster.contrib.persistence.settings import DatabaseSettings

    try:
        given = plan.settings_of(DatabaseSettings)
        settings = DatabaseSettings() if given is None else given
    except ValidationError as error:
        wrong = "; ".join(
            f"{DatabaseSettings.variable(str(detail['loc'][0])) if detail['loc'] else 'DATABASE_*'}: {detail['msg']}"
            for detail in error.errors(include_url=False, include_input=False, include_context=False)
        )
        raise MigrationError(f"the database's settings can't be read: {wrong}") from None
    if settings.pgbouncer and settings.migration_url is None:
        raise MigrationError(
            f"{settings.variable('url')} goes through PgBouncer, where the lock against other processes doesn't hold: "
            f"set {settings.variable('migration_url')} to PostgreSQL itself"
        )
    return settings.migration_dsn


def _one(parts: Sequence[Migrations], name: str | None) -> str:
    from bandmaster.contrib.persistence.migration.branches import MigrationError
    from bandmaster.contrib.persistence.migration.new_revisions import part_named

    if name is None and len(parts) == 1:
        return parts[0].name
    if name is None:
        names = ", ".join(part.name for part in parts)
        raise typer.BadParameter(f"several parts bring migrations, name one of {names}", param_hint="--part")
    try:
        return part_named(parts, name).name
    except MigrationError as error:
        raise typer.BadParameter(str(error), param_hint="--part") from error


def _seconds(timeout: float) -> float:
    if not timeout > 0:
        raise typer.BadParameter("expected seconds above 0", param_hint="--lock-timeout")
    return timeout


def _run(work: Callable[..., Coroutine[Any, Any, T]], *arguments: Any, **options: Any) -> T:
    from functools import partial

    import anyio

    return anyio.run(partial(work, *arguments, **options))


def _say(answer: Format, text: str, data: Mapping[str, Any], *, ok: bool = True) -> None:
    if answer is Format.JSON:
        show_json({"format": 1, "ok": ok, **data})
    else:
        typer.echo(text)


def _json(revision: Revision) -> dict[str, str]:
    return {"id": revision.id, "part": revision.part, "message": revision.message}


def _count(things: Sequence[Any], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


_HOW = """\
Made {made}.

Say so in {package}, beside its models:

    from bandmaster.contrib.persistence import migrations

    {name}_migrations = migrations("{name}", "{package}:{folder}", metadata=Base.metadata)

and in pyproject.toml, naming the module that you wrote it in:

    [project.entry-points."bandmaster.lifespan"]
    {name}_migrations = "{package}.models:{name}_migrations"

Install the package again, and write the first revision:

    bandmaster db revision --part {name} --autogenerate -m "first tables"\
"""
