"""``bandmaster db``: make, apply, undo and check the migrations of all installed parts."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias, TypeVar

import typer

from bandmaster.kernel.commands import (
    PROBLEM,
    Answer,
    AppDir,
    EnvFile,
    Format,
    Target,
    answering,
    put_first,
    show_json,
)

if TYPE_CHECKING:
    from sqlalchemy import URL

    from bandmaster.contrib.persistence.migration.branches import Migrations
    from bandmaster.contrib.persistence.migration.state import Revision
    from bandmaster.kernel import Plan

T = TypeVar("T")

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
    str | None, typer.Option("--part", help="The name of the part.", show_default=False, metavar="NAME")
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
    """Make the folder for a part's migrations, and print how the part contributes them."""
    with answering(answer):
        from bandmaster.contrib.persistence.migration.new_revisions import FOLDER, make_folder

        put_first(app_dir)
        path = make_folder(package)
        name = package.rpartition(".")[2]
        text = _NEXT_STEPS.format(path=path, package=package, name=name, folder=FOLDER)
        _print_answer(answer, text, {"folder": str(path), "part": name, "location": f"{package}:{FOLDER}"})


@db.command()
def revision(
    message: Annotated[str, typer.Option("--message", "-m", help="The change, in a few words.", metavar="TEXT")],
    target: Target = None,
    part: Part = None,
    autogenerate: Annotated[
        bool, typer.Option("--autogenerate", help="Write what the part's models need.", show_default=False)
    ] = False,
    url: Url = None,
    answer: Answer = Format.TEXT,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
) -> None:
    """Write a part's next revision. Only --autogenerate connects to the database."""
    with answering(answer):
        from bandmaster.contrib.persistence.migration.new_revisions import generate_revision, write_revision

        scope = _load_scope(target, app_dir, url)
        name = _choose_part(scope.parts, part)
        if autogenerate:
            written = _run(generate_revision, scope.database(), scope.parts, name, message)
        else:
            written = write_revision(scope.parts, name, message)
        text = f"Wrote {written}" if written else f"The database is what the models of {name!r} say: nothing to write."
        _print_answer(answer, text, {"file": str(written) if written else None})


@db.command()
def upgrade(
    target: Target = None,
    to: Annotated[str, typer.Option("--to", help="A revision, or heads.", metavar="REVISION")] = "heads",
    part: Part = None,
    sql: Sql = False,
    url: Url = None,
    lock_timeout: Timeout = 60,
    answer: Answer = Format.TEXT,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
) -> None:
    """Apply pending revisions. Several processes may do so at once: one works, the others wait."""
    with answering(answer):
        _migrate(_load_scope(target, app_dir, url), part, to, sql=sql, lock_timeout=lock_timeout, answer=answer)


@db.command()
def downgrade(
    to: Annotated[
        str,
        typer.Option(
            "--to", help="The newest revision that remains: an id, -1, or base.", metavar="REVISION", show_default=False
        ),
    ],
    target: Target = None,
    part: Part = None,
    sql: Sql = False,
    url: Url = None,
    lock_timeout: Timeout = 60,
    answer: Answer = Format.TEXT,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
) -> None:
    """Undo revisions, down to the named one. With --sql name a range, from:to."""
    with answering(answer):
        scope = _load_scope(target, app_dir, url)
        _migrate(scope, part, to, down=True, sql=sql, lock_timeout=lock_timeout, answer=answer)


@db.command()
def current(
    target: Target = None,
    url: Url = None,
    answer: Answer = Format.TEXT,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
) -> None:
    """List the newest applied revisions of each part, and how many are pending."""
    with answering(answer):
        from bandmaster.contrib.persistence.migration import state

        scope = _load_scope(target, app_dir, url)
        found = _run(state.state, scope.database(), scope.parts)
        lines: list[str] = []
        for part in scope.parts:
            at = [one for one in found.current if one.part == part.name]
            waiting = sum(one.part == part.name for one in found.pending)
            lines += [f"{one}{f' ({waiting} pending)' if waiting else ''}" for one in at]
            lines += [] if at else [f"{part.name}: nothing applied ({waiting} pending)"]
        lines += [f"unknown {name}" for name in found.unknown]
        _print_answer(
            answer,
            "\n".join(lines),
            {
                "current": [_to_json(one) for one in found.current],
                "pending": [_to_json(one) for one in found.pending],
                "unknown": list(found.unknown),
            },
        )


@db.command()
def check(
    target: Target = None,
    url: Url = None,
    answer: Answer = Format.TEXT,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
) -> None:
    """Check that the database has all revisions and matches the models. Exits with 1 where it doesn't."""
    with answering(answer):
        from bandmaster.contrib.persistence.migration import state

        scope = _load_scope(target, app_dir, url)
        found = _run(state.state, scope.database(), scope.parts)
        upgraded = not found.pending and not found.unknown
        # Each pending revision would be reported a second time, as differences.
        differing = _run(state.differences, scope.database(), scope.parts) if upgraded else ()
        lines = [f"{_count(found.pending, 'revision')} pending:"] if found.pending else []
        lines += [f"  - {one}" for one in found.pending]
        lines += [
            f"The database is at {name}, which no part knows: of a part removed, or newer." for name in found.unknown
        ]
        lines += [f"Models and database differ in {_count(differing, 'place')}:"] if differing else []
        lines += [f"  - {one}" for one in differing]
        _print_answer(
            answer,
            "\n".join(lines or ["The database has all migrations, and is what the models say."]),
            {
                "pending": [_to_json(one) for one in found.pending],
                "unknown": list(found.unknown),
                "differences": list(differing),
            },
            ok=not lines,
        )
        if lines:
            raise typer.Exit(PROBLEM)


@db.command()
def history(
    target: Target = None,
    part: Part = None,
    answer: Answer = Format.TEXT,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
) -> None:
    """List all revisions, in an order in which they can be applied. No database is opened."""
    with answering(answer):
        from bandmaster.contrib.persistence.migration import state

        scope = _load_scope(target, app_dir, None)
        name = None if part is None else _choose_part(scope.parts, part)
        found = [one for one in state.history(scope.parts) if name in (None, one.part)]
        _print_answer(
            answer,
            "\n".join(map(str, found)) or "There are no revisions yet.",
            {"revisions": [{**_to_json(one), "file": str(one.path)} for one in found]},
        )


class _Scope(NamedTuple):
    """The parts and the database that a command works on."""

    parts: tuple[Migrations, ...]
    database: Callable[[], URL]
    """Called only by commands that need a database, because its settings may be missing."""


def _load_scope(target: str | None, app_dir: str, url: str | None) -> _Scope:
    from bandmaster.contrib.persistence.migration.branches import MigrationError
    from bandmaster.contrib.persistence.migration.connection import database_url
    from bandmaster.contrib.persistence.migration.contribution import collect
    from bandmaster.kernel import load_application

    try:
        named = None if url is None else database_url(url)
    except ValueError as error:
        raise typer.BadParameter(str(error).removeprefix("url: "), param_hint="--url") from error
    # Without a target, no request is served here: routes would only be imported in vain.
    plan = load_application(target, app_dir, role="db").plan
    parts = collect(plan)
    if not parts:
        raise MigrationError(
            f"{target or 'the installed parts'} brings no migrations: a part names them by an entry point of "
            "bandmaster.values, as 'bandmaster db init' shows; install the part again after adding one"
        )
    return _Scope(parts, lambda: named or _read_database_url(plan))


def _read_database_url(plan: Plan) -> URL:
    from bandmaster.contrib.persistence.migration.branches import MigrationError
    from bandmaster.contrib.persistence.settings import DatabaseSettings
    from bandmaster.kernel import load_settings

    given = plan.settings_of(DatabaseSettings)
    settings = load_settings(DatabaseSettings) if given is None else given
    if settings.pgbouncer and settings.migration_url is None:
        raise MigrationError(
            f"{settings.variable('url')} goes through PgBouncer, where the lock against other processes doesn't hold: "
            f"set {settings.variable('migration_url')} to PostgreSQL itself"
        )
    return settings.migration_dsn


def _choose_part(parts: Sequence[Migrations], name: str | None) -> str:
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


def _migrate(
    scope: _Scope, part: str | None, to: str, *, down: bool = False, sql: bool, lock_timeout: float, answer: Format
) -> None:
    from bandmaster.contrib.persistence.migration import migrate

    wanted = to if part is None else f"{_choose_part(scope.parts, part)}@{'head' if to == 'heads' else to}"
    if sql:
        script = migrate.script(scope.database(), scope.parts, wanted, down=down)
        _print_answer(answer, script.rstrip("\n"), {"sql": script})
        return
    run = migrate.downgrade if down else migrate.upgrade
    done = _run(run, scope.database(), scope.parts, wanted, lock_timeout=_check_timeout(lock_timeout))
    verb, nothing = ("Undid", "There was nothing to undo.") if down else ("Applied", "Nothing is pending.")
    lines = [f"{verb} {one}" for one in done] or [nothing]
    _print_answer(answer, "\n".join(lines), {"undone" if down else "applied": [_to_json(one) for one in done]})


def _check_timeout(timeout: float) -> float:
    if not timeout > 0:
        raise typer.BadParameter("expected seconds above 0", param_hint="--lock-timeout")
    return timeout


def _run(work: Callable[..., Coroutine[Any, Any, T]], *arguments: Any, **options: Any) -> T:
    from functools import partial

    import anyio

    return anyio.run(partial(work, *arguments, **options))


def _print_answer(answer: Format, text: str, data: Mapping[str, Any], *, ok: bool = True) -> None:
    if answer is Format.JSON:
        show_json({"format": 1, "ok": ok, **data})
    else:
        typer.echo(text)


def _to_json(revision: Revision) -> dict[str, str]:
    return {"id": revision.id, "part": revision.part, "message": revision.message}


def _count(things: Sequence[Any], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


_NEXT_STEPS = """\
Made {path}.

Say so in {package}, beside its models:

    from bandmaster.contrib.persistence import migrations

    {name}_migrations = migrations("{name}", "{package}:{folder}", metadata=Base.metadata)

and in pyproject.toml, naming the module that you wrote it in:

    [project.entry-points."bandmaster.values"]
    {name}_migrations = "{package}.models:{name}_migrations"

Install the package again, and write the first revision:

    bandmaster db revision --part {name} --autogenerate -m "first tables"\
"""
