"""``bandmaster deadletters``: look at the messages that nobody could do, send them again, or forget them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from bandmaster.kernel.commands import Answer, AppDir, CommandError, Format, answering, show_json

if TYPE_CHECKING:
    from bandmaster.contrib.taskiq.dead_letters.dead_letter import DeadLetter, DeadLetters
    from bandmaster.contrib.taskiq.settings import TaskIQSettings

T = TypeVar("T")

From = Annotated[
    str | None,
    typer.Option(
        "--target",
        help="Whose queue, as module:attribute; without it, that of the environment.",
        show_default=False,
        metavar="TARGET",
    ),
]
Queue = Annotated[str | None, typer.Option("--queue", "-q", help="The queue.", show_default="tasks")]
Ids = Annotated[list[str] | None, typer.Argument(help="Ids of letters.", metavar="ID", show_default=False)]
All = Annotated[bool, typer.Option("--all", help="All of them.", show_default=False)]

deadletters = typer.Typer(
    name="deadletters",
    help="Look at messages that nobody could do, send them again, or forget them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@deadletters.command("list")
def list_(
    limit: Annotated[int, typer.Option("--limit", help="The most to list.", min=1)] = 100,
    after: Annotated[
        str | None, typer.Option("--after", help="Begin behind this one.", metavar="ID", show_default=False)
    ] = None,
    target: From = None,
    queue: Queue = None,
    app_dir: AppDir = ".",
    answer: Answer = Format.TEXT,
) -> None:
    """List them, oldest first."""
    with answering(answer):
        count, found = _run(target, app_dir, queue, lambda letters: _listed(letters, after, limit))
        if answer is Format.JSON:
            show_json({"format": 1, "count": count, "letters": [_summary(letter) for letter in found]})
            return
        for letter in found:
            typer.echo(f"{letter.id}  {letter.died_at:%Y-%m-%d %H:%M:%S}  {letter.task or '?'}  {letter.reason.value}")
            typer.echo(f"    {_line(letter.detail)}")
        typer.echo(f"{len(found)} of {count}" if count else "There are no dead letters.")


@deadletters.command()
def show(
    letter_id: Annotated[str, typer.Argument(help="The letter's id.", metavar="ID")],
    target: From = None,
    queue: Queue = None,
    app_dir: AppDir = ".",
    answer: Answer = Format.TEXT,
) -> None:
    """Show one with all that is known of it, its arguments included."""
    with answering(answer):
        letter = _run(target, app_dir, queue, lambda letters: letters.get(letter_id))
        if letter is None:
            raise CommandError(f"There is no dead letter {letter_id!r}.", "See bandmaster deadletters list.")
        whole = _whole(letter)
        if answer is Format.JSON:
            show_json({"format": 1, **whole})
            return
        for name, value in whole.items():
            typer.echo(f"{name}: {value if isinstance(value, str | int) else json.dumps(value, ensure_ascii=False)}")


@deadletters.command()
def replay(
    ids: Ids = None,
    everything: All = False,
    target: From = None,
    queue: Queue = None,
    app_dir: AppDir = ".",
    answer: Answer = Format.TEXT,
) -> None:
    """Send letters again, as if for the first time, and keep them no longer."""
    with answering(answer):
        chosen = _chosen(ids, everything)
        sent = _run(target, app_dir, queue, lambda letters: letters.replay(chosen))
        missing = [each for each in chosen or () if each not in sent]
        if answer is Format.JSON:
            show_json({"format": 1, "ok": not missing, "sent": sent, "missing": missing})
        else:
            typer.echo(f"Sent {len(sent)} again.")
        _missed(missing, answer)


@deadletters.command()
def purge(
    ids: Ids = None,
    everything: All = False,
    older_than: Annotated[
        float | None,
        typer.Option("--older-than", help="Those that died so many days ago.", metavar="DAYS", show_default=False),
    ] = None,
    target: From = None,
    queue: Queue = None,
    app_dir: AppDir = ".",
    answer: Answer = Format.TEXT,
) -> None:
    """Forget letters for good."""
    with answering(answer):
        if older_than is not None and not older_than >= 0:
            raise typer.BadParameter("expected days", param_hint="--older-than")
        chosen = _chosen(ids, everything or older_than is not None)
        before = None if older_than is None else datetime.now(UTC) - timedelta(days=older_than)
        gone = _run(target, app_dir, queue, lambda letters: letters.purge(chosen, before=before))
        if answer is Format.JSON:
            show_json({"format": 1, "ok": True, "forgotten": gone})
        else:
            typer.echo(f"Forgot {gone}.")


async def _listed(letters: DeadLetters, after: str | None, limit: int) -> tuple[int, list[DeadLetter]]:
    try:
        return await letters.count(), await letters.page(after=after, limit=limit)
    except ValueError as error:
        raise CommandError(f"--after: {error}.", misspelt=True) from error


def _chosen(ids: list[str] | None, everything: bool) -> list[str] | None:
    if bool(ids) == everything:
        raise CommandError("Name letters by their ids, or all of them by --all.", misspelt=True)
    return None if everything else ids


def _missed(missing: list[str], answer: Format) -> None:
    if missing:
        if answer is Format.TEXT:
            typer.echo(f"There is no dead letter {', '.join(missing)}.", err=True)
        raise typer.Exit(1)


def _run(
    target: str | None, app_dir: str, queue: str | None, work: Callable[[DeadLetters], Coroutine[Any, Any, T]]
) -> T:
    import anyio

    settings = _settings(target, app_dir)
    if queue is not None:
        settings = settings.model_copy(update={"queue": queue})
    if settings.redis_url is None:
        raise CommandError(
            "Dead letters are in memory alone, of the process that ran their tasks.",
            "Set TASKIQ_REDIS_URL to keep them.",
        )
    return anyio.run(partial(_with_letters, settings, work))


async def _with_letters(settings: TaskIQSettings, work: Callable[[DeadLetters], Coroutine[Any, Any, T]]) -> T:
    async with _opened(settings) as letters:
        return await work(letters)


@asynccontextmanager
async def _opened(settings: TaskIQSettings) -> AsyncGenerator[DeadLetters, None]:
    from bandmaster.contrib.taskiq.backends import open_parts, started

    async with open_parts(settings, "deadletters") as parts:
        if settings.broker is None:
            yield parts.letters
        else:
            # Which alone can send them again.
            async with started(parts.broker):
                yield parts.letters


def _settings(target: str | None, app_dir: str) -> TaskIQSettings:
    from pydantic import ValidationError

    from bandmaster.contrib.taskiq.settings import TaskIQSettings
    from bandmaster.kernel import load_application

    if target is not None:
        given = load_application(target, app_dir).plan.settings_of(TaskIQSettings)
        if given is not None:
            return given
    try:
        return TaskIQSettings()
    except ValidationError as error:
        wrong = "; ".join(
            f"TASKIQ_{'_'.join(map(str, detail['loc'])).upper()}: {detail['msg']}"
            for detail in error.errors(include_url=False, include_input=False, include_context=False)
        )
        raise CommandError(f"The settings of the task queue can't be read: {wrong}.") from None


def _summary(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "task": letter.task,
        "task_id": letter.task_id,
        "reason": letter.reason.value,
        "detail": letter.detail,
        "deliveries": letter.deliveries,
        "died_at": letter.died_at.isoformat(),
    }


def _whole(letter: DeadLetter) -> dict[str, Any]:
    from bandmaster.contrib.taskiq.message_labels import FAILURES

    found: dict[str, Any] = _summary(letter)
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


def _line(text: str) -> str:
    return " ".join(text.split())
