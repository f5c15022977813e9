"""Note values that may be used once only: the state of a login, the id of a logout token."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from bandmaster.contrib.oidc.sessions.memory import MemorySessionStore
from bandmaster.contrib.oidc.sessions.store import Session, SessionStore

_NOBODY = "(used)"


class SingleUse:
    """Notes used values in the session store, where every process sees them.

    A note has an id with a colon, which no session has, and belongs to no issuer. Sessions in memory or in cookies have
    no place for notes, so those stay in this process then, in a store of their own: otherwise whoever begins many
    logins would push out sessions.
    """

    def __init__(self, store: SessionStore, clock: Callable[[], float] = time.time) -> None:
        is_shared = store.is_server_side and not isinstance(store, MemorySessionStore)
        self._store: SessionStore = store if is_shared else MemorySessionStore(clock=clock)
        self._clock = clock

    @asynccontextmanager
    async def claim(self, kind: str, value: str, until: float) -> AsyncGenerator[bool, None]:
        """Use a value. Yields whether nobody has used the value before.

        The value counts as used when the block ends without an error. Others with the same value wait. The note is
        kept until the time ``until``.

        Raises:
            AuthUnavailableError: the store can't be reached.
        """
        note = f"{kind}:{hashlib.sha256(value.encode()).hexdigest()}"
        async with self._store.lock(note):
            if await self._store.get(note) is not None:
                yield False
                return
            yield True
            await self._store.put(
                Session(
                    id=note,
                    provider=_NOBODY,
                    issuer=_NOBODY,
                    subject=_NOBODY,
                    created_at=self._clock(),
                    expires_at=until,
                )
            )
