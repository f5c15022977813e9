"""`AuditLog`: records entries, in a transaction of the caller or in one of their own, and lists them."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypedDict, Unpack

import anyio

from bandmaster.contrib.audit.chain.actions import PREFIX
from bandmaster.contrib.audit.chain.anchors import LOG_EVENT
from bandmaster.contrib.audit.chain.link import ChainLink, check_stream
from bandmaster.contrib.audit.context_fields import read_context
from bandmaster.contrib.audit.entries.canonical import render_canonical
from bandmaster.contrib.audit.entries.entry import AuditEntry, JsonMapping, Result
from bandmaster.contrib.audit.entries.filters import AuditFilter
from bandmaster.contrib.audit.stores.store import AnySession, AuditStore, Draft, Position
from bandmaster.contrib.web import tenant as current_tenant
from bandmaster.kernel import Redactor, get_logger

MAIN_STREAM = "main"
"""The stream of entries without a tenant."""
_TENANT_STREAM = "tenant:"


class EntryFields(TypedDict, total=False):
    """The fields of an entry that a caller may give. Those of the context are known by themselves."""

    result: Result | str
    resource_type: str | None
    resource_id: str | None
    details: JsonMapping
    personal: JsonMapping
    subject: str | None
    actor: str | None
    address: str | None
    tenant: str | None
    request_id: str | None
    correlation_id: str | None
    at: datetime
    stream: str
    """The chain that the entry belongs to: the tenant's unless given, or ``main`` without a tenant."""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """An entry with its place in the chain."""

    entry: AuditEntry
    stream: str
    sequence: int
    hash: str


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries, newest first, and the place where the next page begins."""

    records: tuple[AuditRecord, ...]
    next: Position | None
    """For ``before`` of the next call; None after the last entry."""


class OpenRecord:
    """An action under way: facts may be added until its end."""

    __slots__ = ("details", "personal", "result")

    def __init__(self, details: JsonMapping, personal: JsonMapping, result: Result) -> None:
        self.details: dict[str, Any] = dict(details)
        self.personal: dict[str, Any] = dict(personal)
        self.result = result
        """The result if the block ends without an exception."""


class AuditLog:
    """The audit trail of the application.

    ```python
    audit.record_in(session, "order.cancel", resource_type="order", resource_id="7")  # gone if the session rolls back
    await audit.record("order.cancel", result="refused", beside=session)  # stays, whatever becomes of the session
    ```

    Actor, tenant, address, request id and task come from the context of the running code unless they are given.
    Details and personal facts are redacted before they are hashed and stored.
    """

    def __init__(self, store: AuditStore, *, redactor: Redactor | None = None, max_details: int = 65_536) -> None:
        self.store = store
        self._redactor = redactor or Redactor()
        self._max_details = max_details

    async def record(
        self, action: str, *, beside: AnySession | None = None, **fields: Unpack[EntryFields]
    ) -> AuditRecord | None:
        """Record an action in a transaction of its own: the entry stays even if the caller's work is rolled back.

        ``beside`` is a session of the caller whose transaction is open. PostgreSQL doesn't need to know it. SQLite
        lets only one transaction write: the entry is then written when the session's transaction has ended, and the
        call returns None. The call is shielded from cancellation: it takes as long as the database does.

        Raises:
            ValueError: a field isn't valid, or the action's name is the audit trail's own.
            AuditUnavailableError: the store can't be reached, or another transaction holds the stream for too long.
            AuditRefusedError: the store refuses the entry.
        """
        _check_action(action)
        return await self.record_draft(self._make_draft(action, fields), beside=beside)

    def record_in(self, session: AnySession, action: str, **fields: Unpack[EntryFields]) -> AuditEntry:
        """Record an action in the transaction of a session: the entry is written when it commits.

        If the entry can't be written, the commit fails, and nothing has happened. The session is SQLAlchemy's, for
        asynchronous or for synchronous code; it is of the audit trail's database.

        Raises:
            ValueError: a field isn't valid, the action's name is the audit trail's own, or the session is of another
                database.
        """
        _check_action(action)
        draft = self._make_draft(action, fields)
        self.store.add_to(session, draft, log_link)
        return draft.entry

    def recording(
        self, session: AnySession | None, action: str, **fields: Unpack[EntryFields]
    ) -> AbstractAsyncContextManager[OpenRecord]:
        """Record an action with the result of a block.

        Without an exception the entry is that of `record_in`, or that of `record` where there is no session. With an
        exception it is that of `record`, with the result ``failure``, or ``refused`` for an exception with a
        ``status_code`` of 401 or 403 and for a `PermissionError`. The exception is raised unchanged.

        Raises:
            ValueError: a field isn't valid, or the action's name is the audit trail's own.
        """
        _check_action(action)
        self._make_draft(action, fields)
        return self._recording(session, action, fields)

    async def list(
        self,
        wanted: AuditFilter | None = None,
        *,
        limit: int = 100,
        before: Position | None = None,
        across_tenants: bool = False,
    ) -> AuditPage:
        """Entries that fit, newest first.

        In the context of a tenant only the tenant's entries are listed, unless ``across_tenants`` says otherwise.

        Raises:
            ValueError: ``limit`` isn't from 1 up, or the filter asks for another tenant than the context's.
            AuditUnavailableError, AuditRefusedError: as with `record`.
        """
        if limit < 1:
            raise ValueError(f"limit: expected a number from 1 up, got {limit!r}")
        wanted = wanted or AuditFilter()
        own = current_tenant()
        if own is not None and not across_tenants:
            if wanted.tenant not in (None, own):
                raise ValueError("tenant: isn't the tenant of this request; across_tenants=True asks for it on purpose")
            wanted = replace(wanted, tenant=own)
        links = await self.store.find(wanted, limit=limit + 1, before=before)
        shown = links[:limit]
        last = Position(shown[-1].at, shown[-1].stream, shown[-1].sequence) if len(links) > limit else None
        return AuditPage(tuple(map(make_record, shown)), last)

    async def record_draft(self, draft: Draft, *, beside: AnySession | None = None) -> AuditRecord | None:
        """Record an entry that is made already, in a transaction of its own."""
        records = await self.record_drafts([draft], beside=beside)
        return records[0] if records else None

    async def record_drafts(
        self, drafts: Sequence[Draft], *, beside: AnySession | None = None
    ) -> Sequence[AuditRecord]:
        """Record entries that are made already, in one transaction of their own."""
        links: Sequence[ChainLink] = ()
        with anyio.CancelScope(shield=True):
            if beside is None:
                links = await self.store.append(drafts)
            else:
                links = await self.store.append_beside(drafts, beside, log_link)
        for link in links:
            log_link(link)
        return tuple(map(make_record, links))

    @asynccontextmanager
    async def _recording(
        self, session: AnySession | None, action: str, fields: EntryFields
    ) -> AsyncIterator[OpenRecord]:
        opened = OpenRecord(
            fields.get("details", {}), fields.get("personal", {}), Result(fields.get("result", Result.SUCCESS))
        )
        try:
            yield opened
        except GeneratorExit:
            raise
        except BaseException as error:
            result = Result.REFUSED if is_refusal(error) else Result.FAILURE
            details = {**opened.details, "error": type(error).__name__}
            failed: EntryFields = {**fields, "result": result, "details": details, "personal": opened.personal}
            try:
                await self.record_draft(self._make_draft(action, failed), beside=session)
            except Exception as failure:  # noqa: BLE001  # the exception of the block has precedence
                get_logger("bandmaster.audit").error("audit entry lost", exception=failure, action=action)
            raise
        done: EntryFields = {
            **fields,
            "result": opened.result,
            "details": opened.details,
            "personal": opened.personal,
        }
        draft = self._make_draft(action, done)
        if session is None:
            await self.record_draft(draft)
        else:
            self.store.add_to(session, draft, log_link)

    def _make_draft(self, action: str, fields: EntryFields) -> Draft:
        given: dict[str, Any] = {**read_context(), **fields}
        stream = given.pop("stream", None)
        for name in ("details", "personal"):
            given[name] = self._redactor.redact_mapping(given.get(name) or {})
        if given.get("resource_id") is not None:
            given["resource_id"] = self._redactor.redact_text(given["resource_id"])
        size = len(render_canonical(given["details"])) + len(render_canonical(given["personal"]))
        if size > self._max_details:
            raise ValueError(f"details: have {size} bytes as JSON, and AUDIT_MAX_DETAILS allows {self._max_details}")
        entry = AuditEntry(action=action, **given)
        return Draft(check_stream(find_stream(entry.tenant) if stream is None else stream), entry)


def find_stream(tenant: str | None) -> str:
    """The stream of a tenant's entries; the main one without a tenant."""
    return MAIN_STREAM if tenant is None else f"{_TENANT_STREAM}{tenant}"


def make_record(link: ChainLink) -> AuditRecord:
    """The record of a link."""
    return AuditRecord(link.to_entry(), link.stream, link.sequence, link.hash)


def log_link(link: ChainLink) -> None:
    """Log an entry that is stored, without personal fields. Never raises: the recorded action has happened."""
    fields: dict[str, Any] = {
        "stream": link.stream,
        "sequence": link.sequence,
        "hash": link.hash,
        "action": link.action,
        **{name: link.texts.get(name) for name in _LOGGED},
        "entry": link.texts.get("id"),
    }
    try:
        get_logger("bandmaster.audit").info(
            LOG_EVENT, **{name: value for name, value in fields.items() if value is not None}
        )
    except Exception as error:  # noqa: BLE001
        sys.stderr.write(f"bandmaster.audit: the log event of an entry failed: {type(error).__name__}\n")


_LOGGED = ("result", "resource_type", "resource_id", "tenant", "request_id", "correlation_id", "task", "task_id")


def is_refusal(error: BaseException) -> bool:
    """Whether an exception says that somebody may not do something."""
    return isinstance(error, PermissionError) or getattr(error, "status_code", None) in (401, 403)


def _check_action(action: object) -> None:
    if isinstance(action, str) and action.startswith(PREFIX):
        raise ValueError(f"action: names that begin with {PREFIX!r} are the audit trail's own, got {action!r}")
