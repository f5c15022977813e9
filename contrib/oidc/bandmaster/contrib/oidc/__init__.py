"""Bearer tokens, login, API keys and token stores, checked strictly by default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.kernel import export_lazily

if TYPE_CHECKING:
    from bandmaster.contrib.oidc.introspection.settings import IntrospectionSettings as IntrospectionSettings
    from bandmaster.contrib.oidc.introspection.verifier import IntrospectionVerifier as IntrospectionVerifier
    from bandmaster.contrib.oidc.sessions.cookie import CookieSessionStore as CookieSessionStore
    from bandmaster.contrib.oidc.sessions.memory import MemorySessionStore as MemorySessionStore
    from bandmaster.contrib.oidc.sessions.redis_store import RedisSessionStore as RedisSessionStore
    from bandmaster.contrib.oidc.sessions.settings import SessionSettings as SessionSettings
    from bandmaster.contrib.oidc.sessions.sql_store import SqlSessionStore as SqlSessionStore
    from bandmaster.contrib.oidc.sessions.store import Session as Session
    from bandmaster.contrib.oidc.sessions.store import SessionStore as SessionStore
    from bandmaster.contrib.oidc.token_store.memory import MemoryTokenStore as MemoryTokenStore
    from bandmaster.contrib.oidc.token_store.redis_store import RedisTokenStore as RedisTokenStore
    from bandmaster.contrib.oidc.token_store.settings import TokenStoreSettings as TokenStoreSettings
    from bandmaster.contrib.oidc.token_store.store import TokenStore as TokenStore
    from bandmaster.contrib.oidc.token_store.stored_token import StoredToken as StoredToken
    from bandmaster.contrib.oidc.token_store.stored_token import TokenExpired as TokenExpired

# The module of each public name. A name is imported at its first use (PEP 562): importing this package is cheap.
export_lazily(
    __name__,
    {
        "introspection.settings": ["IntrospectionSettings"],
        "introspection.verifier": ["IntrospectionVerifier"],
        "sessions.cookie": ["CookieSessionStore"],
        "sessions.memory": ["MemorySessionStore"],
        "sessions.redis_store": ["RedisSessionStore"],
        "sessions.settings": ["SessionSettings"],
        "sessions.sql_store": ["SqlSessionStore"],
        "sessions.store": ["Session", "SessionStore"],
        "token_store.memory": ["MemoryTokenStore"],
        "token_store.redis_store": ["RedisTokenStore"],
        "token_store.settings": ["TokenStoreSettings"],
        "token_store.store": ["TokenStore"],
        "token_store.stored_token": ["StoredToken", "TokenExpired"],
    },
)
