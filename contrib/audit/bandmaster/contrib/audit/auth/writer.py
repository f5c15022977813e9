"""`AuthEventWriter`: writes events of authentication to the audit trail, behind a queue that never blocks."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime

import anyio

from bandmaster.contrib.audit.chain.actions import DROPPED
from bandmaster.contrib.audit.entries.entry import MAX_TEXT, AuditEntry, Result
from bandmaster.contrib.audit.recording import AuditLog
from bandmaster.contrib.audit.stores.store import Draft
from bandmaster.contrib.oidc import AuthEvent
from bandmaster.kernel import BandmasterError, Redactor, get_logger

STREAM = "authentication"
"""The stream of these entries: a flood of refusals makes no other action wait."""
_RETRY = 1.0
_BATCH = 50


class AuthEventWriter:
    """An `AuthListener` that makes entries of events.

    The listener only puts an event into a bounded queue. `run` writes them. Events beyond the size of the queue are
    dropped and counted; an entry and a log event tell how many as soon as there is room again.
    """

    def __init__(
        self, audit: AuditLog, actions: frozenset[str], *, size: int, redactor: Redactor | None = None
    ) -> None:
        self._audit = audit
        self._actions = actions
        self._size = size
        self._redactor = redactor or Redactor()
        self._waiting: deque[AuthEvent] = deque()
        self._arrived = anyio.Event()
        self._dropped = 0
        self._dropped_since: datetime | None = None

    @property
    def waiting(self) -> int:
        """How many events wait."""
        return len(self._waiting)

    @property
    def dropped(self) -> int:
        """How many events were dropped that no entry has told of yet."""
        return self._dropped

    def on_auth_event(self, event: AuthEvent) -> None:
        """Put an event into the queue, if the settings ask for its action."""
        if event.action not in self._actions:
            return
        if len(self._waiting) >= self._size:
            self._dropped += 1
            self._dropped_since = self._dropped_since or datetime.now(UTC)
        else:
            self._waiting.append(event)
        self._arrived.set()

    async def run(self) -> None:
        """Write events for ever, and try again for as long as the store can't be used."""
        while True:
            await self._arrived.wait()
            self._arrived = anyio.Event()
            while self._waiting or self._dropped:
                try:
                    await self.write()
                except BandmasterError as error:
                    get_logger("bandmaster.audit").warning(
                        "events of authentication can't be written now", waiting=len(self._waiting), error=str(error)
                    )
                    await anyio.sleep(_RETRY)

    async def write(self) -> None:
        """Write the waiting events, in batches. An event leaves the queue once it is written.

        Raises:
            AuditUnavailableError, AuditRefusedError: the store can't be used; the events wait on.
        """
        while self._waiting or self._dropped:
            events = [self._waiting[place] for place in range(min(_BATCH, len(self._waiting)))]
            drafts = [Draft(STREAM, self._make_entry(event)) for event in events]
            dropped, since = self._dropped, self._dropped_since
            if dropped:
                drafts.append(Draft(STREAM, self._make_report(dropped, since)))
            await self._audit.record_drafts(drafts)
            for _ in events:
                self._waiting.popleft()
            if dropped:
                self._dropped -= dropped
                self._dropped_since = None
                get_logger("bandmaster.audit").error(
                    "events of authentication were dropped: the queue was full", dropped=dropped
                )

    async def write_last(self) -> None:
        """Write the waiting events when the application stops, and log the number of those that can't be written."""
        try:
            await self.write()
        except BandmasterError as error:
            lost = len(self._waiting) + self._dropped
            get_logger("bandmaster.audit").error("events of authentication are lost", lost=lost, error=str(error))

    def _make_entry(self, event: AuthEvent) -> AuditEntry:
        result = Result.SUCCESS if event.succeeded else Result.REFUSED
        if not event.succeeded and event.status is not None and event.status >= 500:
            result = Result.FAILURE
        principal = event.principal
        details = {
            "reason": event.reason,
            "status": event.status,
            "method": event.method,
            "path": event.path,
            "issuer": principal.issuer if principal is not None else None,
            "caller_kind": principal.kind if principal is not None else None,
            "caller_id": principal.credential_id if principal is not None else None,
            "client_id": principal.client_id if principal is not None else None,
        }
        return AuditEntry(
            action=event.action,
            result=result,
            actor=_shorten(None if principal is None else principal.subject),
            address=_shorten(event.client),
            request_id=_shorten(event.request_id),
            details=self._redactor.redact_mapping({name: value for name, value in details.items() if value}),
            at=datetime.fromtimestamp(event.at, UTC),
        )

    def _make_report(self, dropped: int, since: datetime | None) -> AuditEntry:
        details = {"dropped": dropped, "since": None if since is None else since.isoformat()}
        return AuditEntry(action=DROPPED, result=Result.FAILURE, details=details)


def _shorten(text: str | None) -> str | None:
    """A text from outside in the form that an entry accepts."""
    if text is None:
        return None
    plain = "".join(sign if sign.isprintable() and not "\ud800" <= sign <= "\udfff" else "?" for sign in text)
    return plain[:MAX_TEXT].strip() or None
