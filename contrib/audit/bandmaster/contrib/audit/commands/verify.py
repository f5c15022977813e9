"""``bandmaster audit verify``, ``checkpoint`` and ``acknowledge``: whether the chains are sound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bandmaster.contrib.audit.commands.scope import (
    Against,
    By,
    CheckpointFile,
    From,
    Reason,
    Streams,
    load_scope,
    load_settings_only,
    name_operator,
    require_reason,
    run_with_store,
)
from bandmaster.kernel.commands import (
    FAILED,
    Answer,
    AppDir,
    CommandError,
    EnvFile,
    Format,
    answering,
    show_json,
    show_line,
)

if TYPE_CHECKING:
    from bandmaster.contrib.audit.chain.findings import Finding
    from bandmaster.contrib.audit.chain.verifier import Head
    from bandmaster.contrib.audit.settings import AuditSettings
    from bandmaster.contrib.audit.stores.sql_store import SqlAuditStore
    from bandmaster.contrib.audit.verification.report import VerificationReport

TAMPERED = 3
"""The exit code for a broken chain. An interpreter that crashes exits with 1."""


def verify(
    streams: Streams = None,
    checkpoint: CheckpointFile = None,
    full: Annotated[
        bool, typer.Option("--full", help="Verify all entries, also those before the checkpoint.", show_default=False)
    ] = False,
    against: Against = None,
    export: Annotated[
        str | None,
        typer.Option(
            "--export", help="Verify this export instead, without a database.", show_default=False, metavar="FILE"
        ),
    ] = None,
    target: From = None,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
    answer: Answer = Format.TEXT,
) -> None:
    """Verify the chains. Exits with 0 if they are sound, 3 if they were tampered with, 70 if it can't be told."""
    with answering(answer, code=FAILED):
        if export is not None:
            from bandmaster.contrib.audit.chain.keys import ChainKeys
            from bandmaster.contrib.audit.verification.exports import verify_export

            keys = ChainKeys(load_settings_only(target, app_dir).keys)
            _show_report(verify_export(Path(export), keys), answer, [f"the export {export} was verified"], in_file=True)
            return
        scope = load_scope(target, app_dir)
        request = _Request(scope.settings, streams, checkpoint, against, full=full)
        report, remarks = run_with_store(scope, request.run)
        _show_report(report, answer, remarks)


def checkpoint(
    file: Annotated[
        str | None,
        typer.Argument(help="The file to write.", show_default="AUDIT_CHECKPOINT_FILE", metavar="FILE"),
    ] = None,
    by: By = None,
    target: From = None,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
    answer: Answer = Format.TEXT,
) -> None:
    """Verify all chains and write their ends to a signed file, which finds entries that are removed later.

    A stream that ends with entries without a key gets an entry with one, which vouches for them.
    """
    with answering(answer, code=FAILED):
        scope = load_scope(target, app_dir)
        path = _find_checkpoint(scope.settings, file)
        if path is None:
            raise CommandError("Name the file to write.", "Or set AUDIT_CHECKPOINT_FILE.", misspelt=True)
        operator = name_operator(by)

        async def act(store: SqlAuditStore) -> tuple[VerificationReport, list[str]]:
            from bandmaster.contrib.audit.chain.keys import NO_KEY
            from bandmaster.contrib.audit.maintenance.acknowledge import vouch_for_heads
            from bandmaster.contrib.audit.recording import log_link

            if store.keys:
                heads = [head async for head in store.heads() if head.key_id == NO_KEY]
                for link in await vouch_for_heads(store, heads, actor=operator):
                    log_link(link)
            return await _Request(scope.settings, None, str(path), None, full=True).run(store)

        report, remarks = run_with_store(scope, act)
        _show_report(report, answer, remarks)


def acknowledge(
    findings: Annotated[list[str], typer.Argument(help="Findings, by the ids that verify prints.", metavar="ID")],
    reason: Reason,
    by: By = None,
    streams: Streams = None,
    checkpoint: CheckpointFile = None,
    against: Against = None,
    target: From = None,
    env_file: EnvFile = None,
    app_dir: AppDir = ".",
    answer: Answer = Format.TEXT,
) -> None:
    """Acknowledge findings that are explained: an entry says so, and verification goes on.

    If nothing else is wrong, the checkpoint is written anew: it no longer knows entries that are lost.
    """
    with answering(answer, code=FAILED):
        scope = load_scope(target, app_dir)
        why, operator = require_reason(reason), name_operator(by)
        request = _Request(scope.settings, streams, checkpoint, against, full=True, writes=False)

        async def act(store: SqlAuditStore) -> list[Finding]:
            from bandmaster.contrib.audit.maintenance.acknowledge import acknowledge_findings
            from bandmaster.contrib.audit.recording import log_link

            report, _ = await request.run(store)
            chosen = _choose_findings(report.findings, findings)
            for link in await acknowledge_findings(store, chosen, actor=operator, reason=why):
                log_link(link)
            await request.renew(store)
            return chosen

        chosen = run_with_store(scope, act)
        if answer is Format.JSON:
            show_json({"format": 1, "ok": True, "acknowledged": list(map(render_finding, chosen))})
            return
        for finding in chosen:
            show_line(f"Acknowledged {finding.short_id}: {finding}")


class _Request:
    """The options of a command for the verification."""

    def __init__(
        self,
        settings: AuditSettings,
        streams: Sequence[str] | None,
        checkpoint: str | None,
        against: Sequence[str] | None,
        *,
        full: bool,
        writes: bool = True,
    ) -> None:
        self.streams = frozenset(streams) if streams else None
        self.path = _find_checkpoint(settings, checkpoint)
        self.against = [Path(each) for each in against or ()]
        self.full = full
        self.writes = writes

    async def run(self, store: SqlAuditStore) -> tuple[VerificationReport, list[str]]:
        """Verify; returns the report, and remarks about the limits of the result."""
        from bandmaster.contrib.audit.chain.anchors import read_checkpoint, write_checkpoint
        from bandmaster.contrib.audit.verification.run import verify_store

        known = read_checkpoint(self.path, store.keys) if self.path is not None else {}
        report = await verify_store(
            store,
            store.keys,
            streams=self.streams,
            checkpoint=known,
            full=self.full,
            anchors=self._read_anchors(store),
        )
        _check_streams(report, self.streams)
        remarks = await _find_remarks(store, report)
        if self.path is not None and not known:
            remarks.append(f"there was no checkpoint {self.path}: entries removed before now aren't found by it")
        if self.path is not None and self.writes and report.is_sound and not report.unknown_keys:
            kept = {} if self.streams is None else known
            write_checkpoint(self.path, (kept | report.heads).values(), store.keys)
        return report, remarks

    async def renew(self, store: SqlAuditStore) -> None:
        """Write the checkpoint anew if the tables by themselves are sound."""
        from bandmaster.contrib.audit.chain.anchors import read_checkpoint, write_checkpoint
        from bandmaster.contrib.audit.verification.run import verify_store

        if self.path is None or not self.path.exists():
            return
        report = await verify_store(store, store.keys, streams=self.streams)
        if report.is_sound and not report.unknown_keys:
            kept = {} if self.streams is None else read_checkpoint(self.path, store.keys)
            write_checkpoint(self.path, (kept | report.heads).values(), store.keys)

    def _read_anchors(self, store: SqlAuditStore) -> Iterator[Head]:
        from bandmaster.contrib.audit.chain.anchors import read_anchors

        for path in self.against:
            yield from read_anchors(path, store.keys)


async def _find_remarks(store: SqlAuditStore, report: VerificationReport) -> list[str]:
    from bandmaster.contrib.audit.stores.enforcement import find_missing_triggers, find_powers

    remarks = [*report.notes]
    if not store.keys:
        remarks.append(
            "without AUDIT_KEYS only accidents are found: whoever can write to the tables can recompute hashes"
        )
    elif report.unkeyed:
        remarks.append(f"{report.unkeyed} entries were written without a key")
    if not report.anchors:
        remarks.append(
            "nothing was compared with what is known outside the tables, so that entries missing at the end aren't "
            "found: use --checkpoint or --against"
        )
    if missing := await store.run(find_missing_triggers):
        remarks.append(f"the tables don't refuse changes, because triggers are missing: {', '.join(missing)}")
    elif powers := await store.run(find_powers):
        remarks.append(powers)
    return remarks


def _check_streams(report: VerificationReport, asked: frozenset[str] | None) -> None:
    """Check that every stream that is asked for exists, or is known to be lost.

    Raises:
        CommandError: one doesn't.
    """
    known = {*report.heads, *(finding.stream for finding in report.findings + report.acknowledged)}
    if asked is not None and (missing := sorted(asked - known)):
        raise CommandError(f"There is no stream {missing[0]!r}.", "See 'bandmaster audit list'.")


def _show_report(report: VerificationReport, answer: Format, remarks: Sequence[str], *, in_file: bool = False) -> None:
    """Print a report, and exit with the code of the result."""
    unjudged = report.is_sound and bool(report.unknown_keys)
    outcome = "tampered" if not report.is_sound else "unverified" if unjudged else "sound"
    if in_file:
        remarks = [*remarks, *report.notes]
    if report.withheld:
        remarks = [*remarks, f"{report.withheld} personal facts aren't in the export, and weren't verified"]
    missing = ", ".join(repr(key) for key in sorted(report.unknown_keys))
    if answer is Format.JSON:
        show_json(
            {
                "format": 1,
                "ok": outcome == "sound",
                "outcome": outcome,
                "streams": report.streams,
                "entries": report.entries,
                "unkeyed": report.unkeyed,
                "compared": report.anchors,
                "unknown_keys": sorted(report.unknown_keys),
                "findings": list(map(render_finding, report.findings)),
                "more_findings": report.more_findings,
                "acknowledged": list(map(render_finding, report.acknowledged)),
                "remarks": list(remarks),
            }
        )
    else:
        streams = "1 stream" if report.streams == 1 else f"{report.streams} streams"
        show_line(f"{outcome.capitalize()}: {report.entries} entries of {streams} were verified.")
        for finding in report.findings:
            show_line(f"  {finding.short_id}  {finding}")
        if report.more_findings:
            show_line(f"  and {report.more_findings} more")
        for finding in report.acknowledged:
            show_line(f"  acknowledged: {finding}")
        if missing:
            show_line(f"  AUDIT_KEYS doesn't have the keys {missing}: entries with them can't be judged")
        for remark in remarks:
            show_line(f"  note: {remark}")
    if outcome != "sound":
        raise typer.Exit(TAMPERED if outcome == "tampered" else FAILED)


def render_finding(finding: Finding) -> dict[str, Any]:
    """A finding as JSON."""
    return {
        "id": finding.short_id,
        "kind": finding.kind.value,
        "stream": finding.stream,
        "first": finding.first,
        "last": finding.last,
        "explanation": finding.explanation,
    }


def _choose_findings(found: Sequence[Finding], ids: Sequence[str]) -> list[Finding]:
    chosen: list[Finding] = []
    for each in ids:
        fitting = [finding for finding in found if finding.fingerprint.startswith(each)] if len(each) >= 8 else []
        if len(fitting) != 1:
            raise CommandError(
                f"There is no finding {each!r}.",
                "See 'bandmaster audit verify', with the same --checkpoint and --against.",
            )
        chosen += fitting
    return chosen


def _find_checkpoint(settings: AuditSettings, given: str | None) -> Path | None:
    return settings.checkpoint_file if given is None else Path(given)
