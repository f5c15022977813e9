"""``bandmaster audit list`` and ``export``: entries for people, programs and auditors."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bandmaster.contrib.audit.commands.scope import (
    From,
    Streams,
    load_scope,
    parse_moment,
    run_with_store,
)
from bandmaster.kernel.commands import Answer, AppDir, CommandError, EnvFile, Format, answering, show_json, show_line

if TYPE_CHECKING:
    from bandmaster.contrib.audit.maintenance.export import Export, Range
    from bandmaster.contrib.audit.recording import AuditRecord
    from bandmaster.contrib.audit.stores.sql_store import SqlAuditStore
    from bandmaster.contrib.audit.stores.store import Position

_Text = Annotated[str | None, typer.Option(show_default=False)]
Since = Annotated[
    str | None, typer.Option("--since", help="From this time on, such as 2026-01-31.", show_default=False)
]
Until = Annotated[str | None, typer.Option("--until", help="Before this time.", show_default=False)]


def list_(
    action: _Text = None,
    result: _Text = None,
    actor: _Text = None,
    address: _Text = None,
    subject: _Text = None,
    tenant: _Text = None,
    stream: _Text = None,
    resource_type: _Text = None,
    resource_id: _Text = None,
    request_id: _Text = None,
    correlation_id: _Text = None,
    task: _Text = None,
    task_id: _Text = None,
    schedule: _Text = None,
    entry_id: Annotated[str | None, typer.Option("--id", help="The entry of this id.", show_default=False)] = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", help="The most entries to list.", min=1, max=10_000)] = 100,
    before: Annotated[
        str | None,
        typer.Option("--before", help="Begin behind this place, which the page before ends with.", show_default=False),
    ] = None,
    target: From = None,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
    answer: Answer = Format.TEXT,
) -> None:
    """List entries, newest first."""
    from bandmaster.contrib.audit.entries.filters import AuditFilter
    from bandmaster.contrib.audit.recording import AuditLog

    with answering(answer):
        try:
            wanted = AuditFilter(
                id=entry_id,
                stream=stream,
                action=action,
                result=result,  # type: ignore[arg-type]  # the filter takes the text, too
                actor=actor,
                address=address,
                subject=subject,
                tenant=tenant,
                resource_type=resource_type,
                resource_id=resource_id,
                request_id=request_id,
                correlation_id=correlation_id,
                task=task,
                task_id=task_id,
                schedule=schedule,
                since=parse_moment(since, "--since"),
                until=parse_moment(until, "--until"),
            )
            position = None if before is None else _parse_position(before)
        except ValueError as error:
            raise CommandError(f"{error}.", misspelt=True) from error
        scope = load_scope(target, app_dir)
        page = run_with_store(
            scope, lambda store: AuditLog(store).list(wanted, limit=limit, before=position, across_tenants=True)
        )
        following = None if page.next is None else _render_position(page.next)
        if answer is Format.JSON:
            show_json({"format": 1, "entries": list(map(_list_fields, page.records)), "next": following})
            return
        for record in page.records:
            show_line(_render_record(record))
        if not page.records:
            show_line("There are no such entries.")
        if following is not None:
            show_line(f"More: --before {following}")


def export(
    file: Annotated[str, typer.Argument(help="The file to write.", metavar="FILE")],
    streams: Streams = None,
    since: Since = None,
    until: Until = None,
    without_personal: Annotated[
        bool,
        typer.Option("--without-personal", help="Leave out actors, addresses and other personal facts."),
    ] = False,
    target: From = None,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
    answer: Answer = Format.TEXT,
) -> None:
    """Export entries to a signed file of JSON lines, which 'verify --export' verifies without the database.

    The file has entries without a gap: with --since from the first entry of that time on, with --until up to the last
    one before that time.
    """
    with answering(answer):
        begin, end = parse_moment(since, "--since"), parse_moment(until, "--until")
        scope = load_scope(target, app_dir)

        async def act(store: SqlAuditStore) -> Export:
            from bandmaster.contrib.audit.maintenance.export import export_entries

            ranges = [
                await _find_range(store, head.stream, head.sequence, begin, end)
                async for head in store.heads()
                if not streams or head.stream in streams
            ]
            return await export_entries(store, ranges, Path(file), store.keys, with_personal=not without_personal)

        made = run_with_store(scope, act)
        if answer is Format.JSON:
            show_json({"format": 1, "ok": True, "file": file, "entries": made.entries, "sha256": made.sha256})
        else:
            show_line(f"Exported {made.entries} entries to {file} (SHA-256 {made.sha256}).")


async def _find_range(
    store: SqlAuditStore, stream: str, last: int, begin: datetime | None, end: datetime | None
) -> Range:
    from bandmaster.contrib.audit.maintenance.export import Range
    from bandmaster.contrib.audit.maintenance.prune import find_last_before

    after = 0 if begin is None else await find_last_before(store, stream, begin)
    through = last if end is None else await find_last_before(store, stream, end)
    return Range(stream, after, through)


def _list_fields(record: AuditRecord) -> dict[str, Any]:
    return {
        "stream": record.stream,
        "sequence": record.sequence,
        "hash": record.hash,
        **{name: value for name, value in record.entry.to_dict().items() if value not in (None, {}, [])},
    }


def _render_record(record: AuditRecord) -> str:
    entry = record.entry
    resource = ":".join(each for each in (entry.resource_type, entry.resource_id) if each)
    erased = "(erased)" if "actor" in entry.erased else "-"
    words = [
        f"{entry.at:%Y-%m-%d %H:%M:%SZ}",
        f"{record.stream}#{record.sequence}",
        entry.result.value,
        entry.action,
        resource or "-",
        f"by {entry.actor or entry.schedule or erased}",
    ]
    if entry.request_id:
        words.append(f"request {entry.request_id}")
    return "  ".join(words)


def _render_position(position: Position) -> str:
    from bandmaster.contrib.audit.entries.entry import render_time

    return f"{render_time(position.at)}/{position.sequence}/{position.stream}"


def _parse_position(text: str) -> Position:
    from bandmaster.contrib.audit.entries.entry import parse_time
    from bandmaster.contrib.audit.stores.store import Position

    at, _, rest = text.partition("/")
    sequence, _, stream = rest.partition("/")
    if not sequence.isdecimal() or not stream:
        raise ValueError("--before: expected the place that the page before ends with")
    return Position(parse_time(at, "--before"), stream, int(sequence))
