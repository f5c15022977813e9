"""Close the open WebSockets of sessions that have ended."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

from bandmaster.contrib.oidc.errors import AuthUnavailableError
from bandmaster.contrib.oidc.refusals import UNAUTHORIZED
from bandmaster.contrib.oidc.sessions.store import Session, SessionStore, hash_id
from bandmaster.contrib.oidc.watched_websockets import WatchedWebSockets
from bandmaster.kernel import WebSocketConnection, get_logger

SESSION_ENDED = UNAUTHORIZED
"""The code that a WebSocket is closed with when the session has ended: 3000, as for every credential."""

_REASON = "the session has ended"


@dataclass(frozen=True, slots=True, eq=False)
class _Credential:
    handle: str = field(repr=False)
    session: Session


class SessionSockets:
    """The WebSockets of this process that sessions have opened. Their sessions are looked for in the store."""

    def __init__(self, store: SessionStore, *, check_every: float) -> None:
        self._store = store
        self._check_every = check_every
        self._open = WatchedWebSockets[_Credential](_describe)

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def watch(self, handle: str, session: Session, websocket: WebSocketConnection) -> Generator[None, None, None]:
        """Close a WebSocket if the session ends while the block runs."""
        with self._open.watching(_Credential(handle, session), websocket):
            yield

    async def end(self, session_id: str) -> None:
        """Close the WebSockets of a session."""
        await self._open.close_where(lambda one: one.session.id == session_id, _REASON)

    async def end_by(self, issuer: str, *, sid: str | None = None, subject: str | None = None) -> None:
        """Close the WebSockets of an issuer's sessions, which are chosen as `SessionStore.delete_by` does."""
        await self._open.close_where(
            lambda one: (
                one.session.issuer == issuer
                and sid in (None, one.session.sid)
                and subject in (None, one.session.subject)
            ),
            _REASON,
        )

    async def check(self) -> None:
        """Ask the store once for each session with an open WebSocket. A store that is away ends no session."""
        ended: set[str] = set()
        for handle in {one.handle for _, one in self._open.credentials}:
            try:
                session = await self._store.get(handle)
            except AuthUnavailableError as error:
                get_logger("bandmaster.oidc").warning(
                    "the sessions of open WebSockets can't be checked", reason=str(error), open=len(self)
                )
                break
            if session is None:
                ended.add(handle)
        await self._open.close_where(lambda one: one.handle in ended, _REASON)

    async def check_forever(self) -> None:
        """Check from time to time, until cancelled: sessions also end in other processes."""
        while True:
            await anyio.sleep(self._check_every)
            await self.check()


def _describe(credential: _Credential) -> dict[str, str]:
    session = credential.session
    return {"user": session.subject, "session": hash_id(session.id)[:12]}
