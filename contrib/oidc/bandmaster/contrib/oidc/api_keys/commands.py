"""The command ``bandmaster apikey``: makes, lists, revokes and rotates API keys in the database."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import typer

from bandmaster.kernel.commands import (
    PROBLEM,
    Answer,
    AppDir,
    CommandError,
    EnvFile,
    Format,
    GivenSettings,
    answering,
    show_json,
    show_line,
)

if TYPE_CHECKING:
    from bandmaster.contrib.oidc.api_keys.api_key import ApiKey, NewApiKey
    from bandmaster.contrib.oidc.api_keys.service import ApiKeys
    from bandmaster.contrib.oidc.api_keys.settings import ApiKeySettings
    from bandmaster.contrib.persistence import DatabaseSettings

T = TypeVar("T")

_PAGE = 100
"""Keys that are revoked before the next ones are looked for."""

From = Annotated[
    str | None,
    typer.Option(
        "--target",
        help="The application, as module:attribute; without it, the environment names the database.",
        show_default=False,
        metavar="TARGET",
    ),
]
ExpiresIn = Annotated[
    str | None,
    typer.Option(
        "--expires-in",
        help="How long the key lives, such as 90d, 12h or 3600s.",
        show_default=False,
        metavar="DURATION",
    ),
]
KeyId = Annotated[str, typer.Argument(help="The key's id: the 13 characters after bmk_live_.", metavar="ID")]
Owner = Annotated[str | None, typer.Option("--owner", help="Only keys of this owner.", show_default=False)]
Pepper = Annotated[
    str | None,
    typer.Option(
        "--pepper", help="Only keys that were hashed with the pepper of this id.", show_default=False, metavar="ID"
    ),
]

apikey = typer.Typer(
    name="apikey",
    help="Create, list, revoke and rotate API keys.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@apikey.command()
def create(
    owner: Annotated[str, typer.Argument(help="Whose key it is: the subject of its requests.", metavar="OWNER")],
    name: Annotated[str, typer.Option("--name", help="A text to recognise the key by.", show_default=False)] = "",
    scopes: Annotated[
        list[str] | None,
        typer.Option("--scope", help="A scope; may be repeated.", show_default=False, metavar="SCOPE"),
    ] = None,
    expires_in: ExpiresIn = None,
    target: From = None,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
    answer: Answer = Format.TEXT,
) -> None:
    """Create a key and print the key. Nothing can print the same key a second time."""
    with answering(answer):
        lifetime = _parse_duration(expires_in, "--expires-in")
        made = _run(
            target,
            app_dir,
            lambda keys: keys.create(owner, name=name, scopes=frozenset(scopes or ()), expires_in=lifetime),
            makes_keys=True,
        )
        _show_key(made, answer)


@apikey.command("list")
def list_(
    owner: Owner = None,
    pepper: Pepper = None,
    everything: Annotated[bool, typer.Option("--all", help="Also keys that have ended.", show_default=False)] = False,
    limit: Annotated[int, typer.Option("--limit", help="The most keys to list.", min=1)] = 100,
    after: Annotated[
        str | None, typer.Option("--after", help="Begin behind this key.", metavar="ID", show_default=False)
    ] = None,
    target: From = None,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
    answer: Answer = Format.TEXT,
) -> None:
    """List keys in the order of their ids. The keys themselves aren't stored, and can't be listed."""
    with answering(answer):
        found = _run(
            target,
            app_dir,
            lambda keys: keys.list(owner=owner, pepper=pepper, usable=not everything, after=after, limit=limit),
        )
        if answer is Format.JSON:
            show_json({"format": 1, "keys": [_list_fields(key) for key in found]})
            return
        for key in found:
            show_line(_render_key(key))
        if not found:
            show_line("There are no such keys.")


@apikey.command()
def revoke(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of keys.", metavar="ID", show_default=False)] = None,
    owner: Owner = None,
    pepper: Pepper = None,
    target: From = None,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
    answer: Answer = Format.TEXT,
) -> None:
    """Revoke keys at once: those of the ids, or all usable keys of an owner or a pepper."""
    from bandmaster.contrib.oidc.api_keys.key_text import find_id

    with answering(answer):
        if bool(ids) == (owner is not None or pepper is not None):
            raise CommandError("Name keys by their ids, or by --owner and --pepper.", misspelt=True)
        named = None if ids is None or not ids else [_check_id(find_id(each)) for each in ids]
        revoked, missing = _run(target, app_dir, lambda keys: _revoke_all(keys, named, owner, pepper))
        if answer is Format.JSON:
            show_json({"format": 1, "ok": not missing, "revoked": revoked, "missing": missing})
        else:
            for each in revoked:
                show_line(f"Revoked {each}.")
            if not revoked and not missing:
                show_line("There are no such keys.")
            if missing:
                typer.echo(f"There is no key {', '.join(missing)}.", err=True)
        if missing:
            raise typer.Exit(PROBLEM)


@apikey.command()
def rotate(
    key_id: KeyId,
    grace: Annotated[
        str | None,
        typer.Option(
            "--grace",
            help="How long the old key is still accepted, such as 24h; 0: not at all, for a leaked key. Without it: "
            "AUTH_API_KEY_ROTATION_GRACE.",
            show_default=False,
            metavar="DURATION",
        ),
    ] = None,
    expires_in: ExpiresIn = None,
    target: From = None,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
    answer: Answer = Format.TEXT,
) -> None:
    """Create and print a key in place of another one, which ends after the grace."""
    from bandmaster.contrib.oidc.api_keys.key_text import find_id

    with answering(answer):
        seconds = _parse_duration(grace, "--grace")
        lifetime = _parse_duration(expires_in, "--expires-in")
        named = _check_id(find_id(key_id))
        made = _run(
            target,
            app_dir,
            lambda keys: keys.rotate(named, grace=seconds, expires_in=lifetime),
            makes_keys=True,
        )
        _show_key(made, answer)


async def _revoke_all(
    keys: ApiKeys, ids: Sequence[str] | None, owner: str | None, pepper: str | None
) -> tuple[list[str], list[str]]:
    """Revoke the keys of the ids, or all usable ones of an owner and a pepper; returns those revoked and missing."""
    if ids is not None:
        missing = [each for each in ids if await keys.get(each) is None]
        revoked = [(await keys.revoke(each)).id for each in ids if each not in missing]
        return revoked, missing
    revoked = []
    while found := await keys.list(owner=owner, pepper=pepper, usable=True, limit=_PAGE):
        revoked += [(await keys.revoke(key.id)).id for key in found]
    return revoked, []


def _show_key(made: NewApiKey, answer: Format) -> None:
    """Print a new key. This is the one place that prints a secret, so that the text isn't masked."""
    key, record = made.key.get_secret_value(), made.record
    if answer is Format.JSON:
        typer.echo(json.dumps({"format": 1, "ok": True, "key": key, **_list_fields(record)}, indent=2))
        return
    # The key alone goes to standard output, for scripts.
    typer.echo(f"{_render_key(record)}\nThis is the only time that the key is shown:", err=True)
    typer.echo(key)


def _list_fields(key: ApiKey) -> dict[str, Any]:
    from bandmaster.contrib.oidc.api_keys.api_key import read_pepper

    return {
        "id": key.id,
        "owner": key.owner,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "state": key.get_state(_now()).value,
        "created_at": _render_time(key.created_at),
        "expires_at": _render_time(key.expires_at),
        "revoked_at": _render_time(key.revoked_at),
        "last_used_at": _render_time(key.last_used_at),
        "replaced_by": key.replaced_by,
        "pepper": read_pepper(key.hash),
    }


def _render_key(key: ApiKey) -> str:
    scopes = " ".join(sorted(key.scopes)) or "no scopes"
    end = "doesn't expire" if key.expires_at is None else f"until {_render_time(key.expires_at)}"
    used = "never used" if key.last_used_at is None else f"used {_render_time(key.last_used_at)}"
    name = f" ({key.name})" if key.name else ""
    replaced = f", replaced by {key.replaced_by}" if key.replaced_by else ""
    state = key.get_state(_now()).value
    return f"{key.id}  {_join_lines(key.owner + name)}  {scopes}  {state}, {end}, {used}{replaced}"


def _render_time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _now() -> float:
    return datetime.now(UTC).timestamp()


def _join_lines(text: str) -> str:
    return " ".join(text.split())


def _check_id(key_id: str) -> str:
    from bandmaster.contrib.oidc.api_keys.api_key import check_id

    try:
        check_id(key_id, "ID")
    except ValueError as error:
        raise CommandError(f"{error}.", "See bandmaster apikey list.", misspelt=True) from error
    return key_id


def _parse_duration(text: str | None, option: str) -> float | None:
    from bandmaster.contrib.oidc.api_keys.durations import parse_duration

    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise CommandError(f"{option}: {error}.", misspelt=True) from error


class _Scope(NamedTuple):
    """The settings of the keys and of their database."""

    settings: ApiKeySettings
    database: DatabaseSettings


def _run(
    target: str | None, app_dir: str, action: Callable[[ApiKeys], Coroutine[Any, Any, T]], *, makes_keys: bool = False
) -> T:
    import anyio

    scope = _load_scope(target, app_dir, makes_keys=makes_keys)
    try:
        return anyio.run(partial(_act, scope, action))
    except ValueError as error:
        raise CommandError(f"{error}.", misspelt=True) from error


async def _act(scope: _Scope, action: Callable[[ApiKeys], Coroutine[Any, Any, T]]) -> T:
    from bandmaster.contrib.oidc.api_keys.build import build_hasher
    from bandmaster.contrib.oidc.api_keys.hashers import NoHasher
    from bandmaster.contrib.oidc.api_keys.service import ApiKeys
    from bandmaster.contrib.oidc.api_keys.sql_store import SqlApiKeyStore
    from bandmaster.contrib.persistence import DatabaseManager

    hasher = build_hasher(scope.settings) if scope.settings.is_enabled else NoHasher()
    manager = DatabaseManager(scope.database)
    try:
        return await action(ApiKeys(SqlApiKeyStore(manager), hasher, scope.settings))
    finally:
        await manager.dispose()


def _load_scope(target: str | None, app_dir: str, *, makes_keys: bool) -> _Scope:
    from bandmaster.contrib.oidc.api_keys.settings import ApiKeySettings

    given = GivenSettings(target, app_dir)
    settings = given.read(ApiKeySettings)
    if settings.store == "memory":
        raise CommandError(
            "API keys are only in the memory of the process that made them.",
            f"Set {settings.variable('store')} to sql to keep them in the database.",
        )
    if makes_keys and not settings.is_enabled:
        raise CommandError(
            f"{settings.variable('peppers')} isn't set, so that no key can be hashed.",
            "Set it as for the application.",
        )
    from bandmaster.contrib.persistence import DatabaseSettings

    return _Scope(settings, given.read(DatabaseSettings))
