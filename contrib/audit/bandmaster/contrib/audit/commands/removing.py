"""``bandmaster audit prune`` and ``erase``: remove entries and personal facts, and report the removal."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bandmaster.contrib.audit.commands.scope import (
    By,
    From,
    Reason,
    Streams,
    load_scope,
    name_operator,
    parse_moment,
    require_reason,
    run_with_store,
)
from bandmaster.contrib.audit.commands.verify import TAMPERED
from bandmaster.kernel.commands import Answer, AppDir, CommandError, EnvFile, Format, answering, show_json, show_line

if TYPE_CHECKING:
    from bandmaster.contrib.audit.maintenance.erase import ErasedFields
    from bandmaster.contrib.audit.maintenance.prune import PrunedEntries
    from bandmaster.contrib.audit.stores.sql_store import SqlAuditStore

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def prune(
    export_to: Annotated[
        str,
        typer.Option("--export-to", help="The directory for the exports.", metavar="DIRECTORY", show_default=False),
    ],
    reason: Reason,
    before: Annotated[
        str | None, typer.Option("--before", help="Remove what is older than this time.", show_default=False)
    ] = None,
    keep_days: Annotated[
        float | None,
        typer.Option("--keep-days", help="Remove what is older than so many days.", min=0, show_default=False),
    ] = None,
    by: By = None,
    streams: Streams = None,
    target: From = None,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
    answer: Answer = Format.TEXT,
) -> None:
    """Export the oldest entries, verify the export, write an entry that says so, and then remove them.

    Connects with DATABASE_MIGRATION_URL where it is set. A stream that is broken isn't pruned. The last entry of a
    stream always stays.
    """
    with answering(answer):
        if (before is None) == (keep_days is None):
            raise CommandError("Say what to remove, by --before or by --keep-days.", misspelt=True)
        moment = parse_moment(before, "--before") or datetime.now(UTC) - timedelta(days=keep_days or 0)
        why, operator, directory = require_reason(reason), name_operator(by), Path(export_to)
        if not directory.is_dir():
            raise CommandError(f"{directory} is no directory.", misspelt=True)
        scope = load_scope(target, app_dir)

        async def act(store: SqlAuditStore) -> tuple[list[PrunedEntries], list[str]]:
            return await _prune_all(store, moment, directory, operator, why, streams)

        pruned, broken = run_with_store(scope, act, as_owner=True)
        if answer is Format.JSON:
            show_json({"format": 1, "ok": not broken, "pruned": list(map(_list_pruned, pruned)), "broken": broken})
        else:
            for each in pruned:
                place = f", exported to {each.export.path}" if each.export is not None else ""
                show_line(f"Removed {each.entries} entries of {each.stream!r}, up to entry {each.through}{place}.")
            for text in broken:
                typer.echo(text, err=True)
            if not pruned and not broken:
                show_line("There is nothing to remove.")
        if broken:
            raise typer.Exit(TAMPERED)


def erase(
    subject: Annotated[str, typer.Argument(help="The id of the person.", metavar="SUBJECT")],
    reason: Reason,
    by: By = None,
    streams: Streams = None,
    target: From = None,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
    answer: Answer = Format.TEXT,
) -> None:
    """Erase the actor, the address and the personal facts of a person in all entries. An entry says so.

    Connects with DATABASE_MIGRATION_URL where it is set. The other fields of the entries stay, and so do exports, logs
    and backups.
    """
    with answering(answer):
        why, operator = require_reason(reason), name_operator(by)
        scope = load_scope(target, app_dir)

        async def act(store: SqlAuditStore) -> list[ErasedFields]:
            from bandmaster.contrib.audit.maintenance.erase import erase_subject
            from bandmaster.contrib.audit.recording import log_link

            erased = await erase_subject(store, subject, actor=operator, reason=why, streams=streams)
            for each in erased:
                log_link(each.link)
            return erased

        erased = run_with_store(scope, act, as_owner=True)
        if answer is Format.JSON:
            found = [{"stream": each.stream, "fields": each.fields, "entry": each.link.sequence} for each in erased]
            show_json({"format": 1, "ok": True, "erased": found})
            return
        for each in erased:
            show_line(f"Erased {each.fields} personal fields of {each.stream!r}; entry {each.link.sequence} says so.")
        if not erased:
            show_line("No entry has personal fields about this person.")


async def _prune_all(
    store: SqlAuditStore,
    moment: datetime,
    directory: Path,
    operator: str,
    reason: str,
    streams: Sequence[str] | None,
) -> tuple[list[PrunedEntries], list[str]]:
    """Prune all streams, or some of them; returns the removed entries, and the reasons for other streams."""
    from bandmaster.contrib.audit.maintenance.prune import BrokenChainError, find_cut, prune_stream
    from bandmaster.contrib.audit.recording import log_link

    pruned: list[PrunedEntries] = []
    broken: list[str] = []
    for head in [head async for head in store.heads() if not streams or head.stream in streams]:
        through = await find_cut(store, head.stream, moment)
        path = directory / _name_file(head.stream, through)
        try:
            result = await prune_stream(store, head, through, path, actor=operator, reason=reason)
        except BrokenChainError as error:
            broken.append(str(error))
            continue
        if result is not None:
            pruned.append(result)
            if result.link is not None:
                log_link(result.link)
    return pruned, broken


def _list_pruned(pruned: PrunedEntries) -> dict[str, Any]:
    export = pruned.export
    return {
        "stream": pruned.stream,
        "through": pruned.through,
        "entries": pruned.entries,
        "export": None if export is None else str(export.path),
        "sha256": None if export is None else export.sha256,
        "entry": None if pruned.link is None else pruned.link.sequence,
    }


def _name_file(stream: str, through: int) -> str:
    """A file name for a stream of any name; two streams never share one."""
    digest = hashlib.sha256(stream.encode()).hexdigest()[:8]
    return f"audit-{_UNSAFE.sub('_', stream)[:80]}-{digest}-through-{through}.jsonl"
