"""Close the open WebSockets of sessions that have ended."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

from bandmaster.contrib.oidc.errors import AuthUnavailableError
from bandmaster.contrib.oidc.refusals import UNAUTHORIZED
from bandmaster.contrib.oidc.sessions.store import Session, SessionStore, hash_id
from bandmaster.kernel import WebSocketConnection, get_logger

SESSION_ENDED = UNAUTHORIZED
"""The code that a WebSocket is closed with when the session has ended: 3000, as for every credential."""

_REASON = "the session has ended"
_PATIENCE = 5
"""Seconds that one close may take."""


@dataclass(frozen=True, slots=True, eq=False)
class _Open:
    handle: str = field(repr=False)
    session: Session
    websocket: WebSocketConnection


class SessionSockets:
    """The WebSockets of this process that sessions have opened. They cost nothing for a message."""

    def __init__(self, store: SessionStore, *, check_every: float) -> None:
        self._store = store
        self._check_every = check_every
        self._open: set[_Open] = set()

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def watch(self, handle: str, session: Session, websocket: WebSocketConnection) -> Generator[None, None, None]:
        """Close a WebSocket if the session ends while the block runs."""
        entry = _Open(handle, session, websocket)
        self._open.add(entry)
        try:
            yield
        finally:
            self._open.discard(entry)

    async def end(self, session_id: str) -> None:
        """Close the WebSockets of a session."""
        await self._close(lambda entry: entry.session.id == session_id)

    async def end_by(self, issuer: str, *, sid: str | None = None, subject: str | None = None) -> None:
        """Close the WebSockets of an issuer's sessions, which are chosen as `SessionStore.delete_by` does."""
        await self._close(
            lambda entry: (
                entry.session.issuer == issuer
                and sid in (None, entry.session.sid)
                and subject in (None, entry.session.subject)
            )
        )

    async def check(self) -> None:
        """Ask the store once for each session with an open WebSocket. A store that is away ends no session."""
        for handle in {entry.handle for entry in self._open}:
            try:
                session = await self._store.get(handle)
            except AuthUnavailableError as error:
                get_logger("bandmaster.oidc").warning(
                    "the sessions of open WebSockets can't be checked", reason=str(error), open=len(self)
                )
                return
            if session is None:
                await self._close(lambda entry, ended=handle: entry.handle == ended)  # type: ignore[misc]

    async def check_forever(self) -> None:
        """Check from time to time, until cancelled: sessions also end in other processes."""
        while True:
            await anyio.sleep(self._check_every)
            await self.check()

    async def _close(self, is_chosen: Callable[[_Open], bool]) -> None:
        chosen = [entry for entry in self._open if is_chosen(entry)]
        if not chosen:
            return
        async with anyio.create_task_group() as tasks:
            for entry in chosen:
                tasks.start_soon(_close_one, entry)


async def _close_one(entry: _Open) -> None:
    get_logger("bandmaster.oidc").info(
        "WebSocket closed",
        reason=_REASON,
        user=entry.session.subject,
        session=hash_id(entry.session.id)[:12],
        code=SESSION_ENDED,
    )
    with anyio.move_on_after(_PATIENCE):
        await entry.websocket.close(SESSION_ENDED, _REASON)
