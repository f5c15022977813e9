"""The command ``bandmaster deadletters``: lists, shows, replays and deletes dead letters."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from bandmaster.kernel.commands import (
    Answer,
    AppDir,
    CommandError,
    EnvFile,
    Format,
    GivenSettings,
    answering,
    show_json,
)

if TYPE_CHECKING:
    from bandmaster.contrib.taskiq.dead_letters.dead_letter import DeadLetter, DeadLetters
    from bandmaster.contrib.taskiq.settings import TaskIQSettings

T = TypeVar("T")

From = Annotated[
    str | None,
    typer.Option(
        "--target",
        help="The application, as module:attribute; without it, the environment names the queue.",
        show_default=False,
        metavar="TARGET",
    ),
]
Queue = Annotated[str | None, typer.Option("--queue", "-q", help="The queue.", show_default="tasks")]
Ids = Annotated[list[str] | None, typer.Argument(help="Ids of dead letters.", metavar="ID", show_default=False)]
All = Annotated[bool, typer.Option("--all", help="All dead letters.", show_default=False)]

deadletters = typer.Typer(
    name="deadletters",
    help="List, show, replay and delete dead letters: messages that failed for good.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@deadletters.command("list")
def list_(
    limit: Annotated[int, typer.Option("--limit", help="The most letters to list.", min=1)] = 100,
    after: Annotated[
        str | None, typer.Option("--after", help="Begin behind this letter.", metavar="ID", show_default=False)
    ] = None,
    target: From = None,
    queue: Queue = None,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
    answer: Answer = Format.TEXT,
) -> None:
    """List dead letters, oldest first."""
    with answering(answer):
        count, found = _run(target, app_dir, queue, lambda letters: _read_page(letters, after, limit))
        if answer is Format.JSON:
            show_json({"format": 1, "count": count, "letters": [_summarize(letter) for letter in found]})
            return
        for letter in found:
            typer.echo(f"{letter.id}  {letter.died_at:%Y-%m-%d %H:%M:%S}  {letter.task or '?'}  {letter.reason.value}")
            typer.echo(f"    {_join_lines(letter.detail)}")
        typer.echo(f"{len(found)} of {count}" if count else "There are no dead letters.")


@deadletters.command()
def show(
    letter_id: Annotated[str, typer.Argument(help="The dead letter's id.", metavar="ID")],
    target: From = None,
    queue: Queue = None,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
    answer: Answer = Format.TEXT,
) -> None:
    """Show a dead letter with its arguments and errors."""
    with answering(answer):
        letter = _run(target, app_dir, queue, lambda letters: letters.get(letter_id))
        if letter is None:
            raise CommandError(f"There is no dead letter {letter_id!r}.", "See bandmaster deadletters list.")
        fields = _list_fields(letter)
        if answer is Format.JSON:
            show_json({"format": 1, **fields})
            return
        for name, value in fields.items():
            typer.echo(f"{name}: {value if isinstance(value, str | int) else json.dumps(value, ensure_ascii=False)}")


@deadletters.command()
def replay(
    ids: Ids = None,
    everything: All = False,
    target: From = None,
    queue: Queue = None,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
    answer: Answer = Format.TEXT,
) -> None:
    """Send dead letters again, with attempts counted anew, and remove them."""
    with answering(answer):
        chosen = _check_choice(ids, everything)
        sent = _run(target, app_dir, queue, lambda letters: letters.replay(chosen))
        missing = [each for each in chosen or () if each not in sent]
        if answer is Format.JSON:
            show_json({"format": 1, "ok": not missing, "sent": sent, "missing": missing})
        else:
            typer.echo(f"Sent {len(sent)} again.")
        _report_missing(missing, answer)


@deadletters.command()
def purge(
    ids: Ids = None,
    everything: All = False,
    older_than: Annotated[
        float | None,
        typer.Option(
            "--older-than", help="Letters that died more than so many days ago.", metavar="DAYS", show_default=False
        ),
    ] = None,
    target: From = None,
    queue: Queue = None,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
    answer: Answer = Format.TEXT,
) -> None:
    """Delete dead letters."""
    with answering(answer):
        if older_than is not None and not older_than >= 0:
            raise typer.BadParameter("expected days", param_hint="--older-than")
        chosen = _check_choice(ids, everything or older_than is not None)
        before = None if older_than is None else datetime.now(UTC) - timedelta(days=older_than)
        gone = _run(target, app_dir, queue, lambda letters: letters.purge(chosen, before=before))
        if answer is Format.JSON:
            show_json({"format": 1, "ok": True, "forgotten": gone})
        else:
            typer.echo(f"Deleted {gone}.")


async def _read_page(letters: DeadLetters, after: str | None, limit: int) -> tuple[int, list[DeadLetter]]:
    try:
        return await letters.count(), await letters.page(after=after, limit=limit)
    except ValueError as error:
        raise CommandError(f"--after: {error}.", misspelt=True) from error


def _check_choice(ids: list[str] | None, everything: bool) -> list[str] | None:
    if bool(ids) == everything:
        raise CommandError("Name dead letters by their ids, or all of them by --all.", misspelt=True)
    return None if everything else ids


def _report_missing(missing: list[str], answer: Format) -> None:
    if missing:
        if answer is Format.TEXT:
            typer.echo(f"There is no dead letter {', '.join(missing)}.", err=True)
        raise typer.Exit(1)


def _run(
    target: str | None, app_dir: str, queue: str | None, action: Callable[[DeadLetters], Coroutine[Any, Any, T]]
) -> T:
    import anyio

    from bandmaster.contrib.taskiq.settings import TaskIQSettings

    settings = GivenSettings(target, app_dir).read(TaskIQSettings)
    if queue is not None:
        settings = settings.model_copy(update={"queue": queue})
    if settings.redis_url is None:
        raise CommandError(
            "Dead letters are only in the memory of the process that ran their tasks.",
            "Set TASKIQ_REDIS_URL to store them in Redis.",
        )
    return anyio.run(partial(_with_letters, settings, action))


async def _with_letters(settings: TaskIQSettings, action: Callable[[DeadLetters], Coroutine[Any, Any, T]]) -> T:
    from bandmaster.contrib.taskiq.backends import open_backends, run_broker

    async with open_backends(settings, "deadletters") as backends, AsyncExitStack() as stack:
        if settings.broker is not None:
            # Only a started broker of another package can send its messages again.
            await stack.enter_async_context(run_broker(backends.broker))
        return await action(backends.dead_letters)


def _summarize(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "task": letter.task,
        "task_id": letter.task_id,
        "reason": letter.reason.value,
        "detail": letter.detail,
        "deliveries": letter.deliveries,
        "died_at": letter.died_at.isoformat(),
    }


def _list_fields(letter: DeadLetter) -> dict[str, Any]:
    from bandmaster.contrib.taskiq.message_labels import FAILURES

    found: dict[str, Any] = _summarize(letter)
    found["history"] = [{"consumer": each.consumer, "until": each.until.isoformat()} for each in letter.history]
    try:
        message = json.loads(letter.data)
    except ValueError:
        message = None
    if isinstance(message, dict) and isinstance(labels := message.get("labels", {}), dict):
        try:
            found["failures"] = json.loads(labels.pop(FAILURES, "[]"))
        except (TypeError, ValueError):
            found["failures"] = []
        found |= {"args": message.get("args"), "kwargs": message.get("kwargs"), "labels": labels}
    else:
        found["data"] = repr(letter.data)
    return found


def _join_lines(text: str) -> str:
    return " ".join(text.split())
