"""The open WebSockets of this process with their principals, closed when a credential ends."""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import anyio
from starlette.types import ASGIApp, Receive, Scope, Send

from bandmaster.contrib.oidc.access.settings import AccessSettings
from bandmaster.contrib.oidc.api_keys.service import ApiKeys
from bandmaster.contrib.oidc.errors import AuthUnavailableError
from bandmaster.contrib.oidc.principal import Principal, get_principal
from bandmaster.contrib.oidc.revocations import RevocationList
from bandmaster.contrib.oidc.settings import AuthSettings
from bandmaster.contrib.oidc.watched_websockets import WatchedWebSockets
from bandmaster.kernel import (
    Context,
    LifespanBand,
    MiddlewareBand,
    WebSocketConnection,
    current_websocket,
    get_logger,
    lifespan,
    middleware,
)

_LONGEST_SLEEP = 3600
"""Seconds after which the clock is read again: the clock may have been set, or the machine may have slept."""
_SPARE_DEADLINES = 100
"""Deadlines of WebSockets that have ended, below which removing them isn't worth a search."""


class OpenWebSockets:
    """Closes WebSockets with code 3000 when their credential expires, is revoked, or ends by `close`.

    There is one timer for all of them, and no work for a message. ``leeway`` are the seconds by which a token may
    outlive its expiry, as in requests; other credentials have none.
    """

    def __init__(
        self,
        *,
        leeway: float = 0,
        recheck: float = math.inf,
        revocations: Iterable[RevocationList] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        self._leeway = leeway
        self._recheck_seconds = recheck
        self._revocations = tuple(revocations)
        self._now = now
        self._open = WatchedWebSockets[Principal](_describe)
        # Entries of WebSockets that have ended stay for a while, and have no effect.
        self._deadlines: list[tuple[float, int]] = []
        self._earlier = anyio.Event()
        """Set when a deadline comes before all others."""

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def watching(self, principal: Principal, websocket: WebSocketConnection) -> Iterator[None]:
        """Watch a WebSocket until the block ends."""
        try:
            with self._open.watching(principal, websocket) as number:
                if principal.expires_at is not None:
                    # The leeway is for the clocks of providers. This machine's own has made the expiry of a key.
                    leeway = self._leeway if principal.kind == "token" else 0
                    self._add_deadline(principal.expires_at + leeway, number)
                yield
        finally:
            self._remove_ended()

    async def close(
        self,
        *,
        issuer: str,
        subject: str | None = None,
        session_id: str | None = None,
        credential_id: str | None = None,
    ) -> int:
        """Close the WebSockets of an issuer's subject, session or credential. Returns how many there were.

        All that is given must match. The WebSockets of other processes stay open until their credential is found to be
        revoked.

        Raises:
            ValueError: nothing besides the issuer is given.
        """
        wanted = {"subject": subject, "session_id": session_id, "credential_id": credential_id}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        if not wanted:
            raise ValueError("subject, session_id or credential_id: expected one of them at least")
        wanted["issuer"] = issuer
        return await self._open.close_where(
            lambda principal: all(getattr(principal, name) == value for name, value in wanted.items()),
            "the session has ended",
        )

    async def close_expired(self) -> int:
        """Close the WebSockets whose credential has expired, tokens with the leeway. Returns how many there were."""
        expired: list[int] = []
        now = self._now()
        while self._deadlines and self._deadlines[0][0] <= now:
            expired.append(heapq.heappop(self._deadlines)[1])
        return await self._open.close(expired, "the credential has expired")

    async def close_revoked(self) -> int:
        """Close the WebSockets whose credential was revoked. Returns how many there were.

        While a revocation list can't be read, WebSockets stay open: their credentials held when they were opened.
        """
        revoked: list[int] = []
        for each in self._revocations:
            try:
                for number, principal in self._open.credentials:
                    if await each.is_revoked(principal):
                        revoked.append(number)
            except AuthUnavailableError as error:
                get_logger("bandmaster.oidc").warning(
                    "open WebSockets can't be checked for revocation", error=str(error), open=len(self._open)
                )
        return await self._open.close(dict.fromkeys(revoked), "the credential was revoked")

    async def run(self) -> None:
        """Close WebSockets at their deadlines, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._run_expiry)
            if self._revocations:
                tasks.start_soon(self._run_recheck)

    async def _run_expiry(self) -> None:
        while True:
            self._earlier = anyio.Event()
            await self.close_expired()
            wait = self._deadlines[0][0] - self._now() if self._deadlines else math.inf
            with anyio.move_on_after(max(0, min(wait, _LONGEST_SLEEP))):
                await self._earlier.wait()

    async def _run_recheck(self) -> None:
        while True:
            await anyio.sleep(self._recheck_seconds)
            await self.close_revoked()

    def _add_deadline(self, moment: float, number: int) -> None:
        deadline = moment, number
        heapq.heappush(self._deadlines, deadline)
        if self._deadlines[0] is deadline:
            self._earlier.set()

    def _remove_ended(self) -> None:
        """Remove the deadlines of WebSockets that have ended, once they are the most: a key may expire in years."""
        if len(self._deadlines) > 2 * len(self._open) + _SPARE_DEADLINES:
            self._deadlines = [deadline for deadline in self._deadlines if deadline[1] in self._open]
            heapq.heapify(self._deadlines)


def _describe(principal: Principal) -> dict[str, str]:
    return {"user": principal.subject, "kind": principal.kind}


def _ends_websockets(settings: AccessSettings) -> bool:
    return settings.websocket_end


@lifespan(band=LifespanBand.SERVICES, name="open_websockets", roles={"web"}, when=_ends_websockets)
async def open_websockets(
    auth: AuthSettings,
    settings: AccessSettings,
    lists: Sequence[RevocationList],
    keys: ApiKeys | None,
    context: Context,
) -> AsyncIterator[OpenWebSockets]:
    """Closes WebSockets whose credential expires or is revoked."""
    # The service of keys is a list already, unless an override for ApiKeys stands in its place.
    known = [*lists, *([keys] if keys is not None and all(each is not keys for each in lists) else [])]
    websockets = OpenWebSockets(
        leeway=auth.leeway,
        recheck=settings.websocket_recheck,
        revocations=known,
    )
    context.supervise(websockets.run, name=context.name)
    yield websockets


@middleware(
    band=MiddlewareBand.SECURITY,
    priority=MiddlewareBand.SECURITY.priorities[95],
    name="open_websockets",
    scopes={"websocket"},
    when=_ends_websockets,
)
class WebSocketEndLayer:
    """Closes a WebSocket with code 3000 when the credential that opened it expires or is revoked."""

    def __new__(cls, app: ASGIApp, websockets: OpenWebSockets | None = None) -> Any:
        """The layer, or the app itself where nothing closes WebSockets."""
        return app if websockets is None else super().__new__(cls)

    def __init__(self, app: ASGIApp, websockets: OpenWebSockets) -> None:
        self._app = app
        self._websockets = websockets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket."""
        principal, websocket = get_principal(scope), current_websocket()
        if principal is None or websocket is None or principal.kind == "session":
            # Sessions may be extended, and end in other ways: the layer of the login watches theirs.
            await self._app(scope, receive, send)
            return
        with self._websockets.watching(principal, websocket):
            await self._app(scope, receive, send)
