"""Bearer tokens, login, API keys and token stores, checked strictly by default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.kernel import export_lazily

if TYPE_CHECKING:
    from bandmaster.contrib.oidc.login.component import login_service as login_service
    from bandmaster.contrib.oidc.login.providers import Endpoints as Endpoints
    from bandmaster.contrib.oidc.login.providers import ProviderDirectory as ProviderDirectory
    from bandmaster.contrib.oidc.login.providers import SignedToken as SignedToken
    from bandmaster.contrib.oidc.login.routes import login_routes as login_routes
    from bandmaster.contrib.oidc.login.service import Login as Login
    from bandmaster.contrib.oidc.login.session_layer import SessionAuth as SessionAuth
    from bandmaster.contrib.oidc.login.session_layer import get_session as get_session
    from bandmaster.contrib.oidc.login.session_sockets import SESSION_ENDED as SESSION_ENDED
    from bandmaster.contrib.oidc.login.settings import LoginSettings as LoginSettings
    from bandmaster.contrib.oidc.sessions.memory import MemorySessionStore as MemorySessionStore
    from bandmaster.contrib.oidc.sessions.store import Session as Session
    from bandmaster.contrib.oidc.sessions.store import SessionStore as SessionStore

# The module of each public name. A name is imported at its first use (PEP 562): importing this package is cheap.
export_lazily(
    __name__,
    {
        "login.component": ["login_service"],
        "login.providers": ["Endpoints", "ProviderDirectory", "SignedToken"],
        "login.routes": ["login_routes"],
        "login.service": ["Login"],
        "login.session_layer": ["SessionAuth", "get_session"],
        "login.session_sockets": ["SESSION_ENDED"],
        "login.settings": ["LoginSettings"],
        "sessions.memory": ["MemorySessionStore"],
        "sessions.store": ["Session", "SessionStore"],
    },
)
