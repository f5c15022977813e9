"""Bearer tokens, login, API keys and token stores, checked strictly by default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.kernel import export_lazily

if TYPE_CHECKING:
    from bandmaster.contrib.oidc.sessions.memory import MemorySessionStore as MemorySessionStore
    from bandmaster.contrib.oidc.sessions.store import Session as Session
    from bandmaster.contrib.oidc.sessions.store import SessionStore as SessionStore

# The module of each public name. A name is imported at its first use (PEP 562): importing this package is cheap.
export_lazily(
    __name__,
    {
        "sessions.memory": ["MemorySessionStore"],
        "sessions.store": ["Session", "SessionStore"],
    },
)
