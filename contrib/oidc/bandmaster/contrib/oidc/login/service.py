"""The login of an application, as the layer and the routes share the parts."""

from __future__ import annotations

import re
from dataclasses import dataclass

from starlette.types import Scope

from bandmaster.contrib.oidc.login.addresses import Addresses
from bandmaster.contrib.oidc.login.cookies import CookieWriter, read_cookie
from bandmaster.contrib.oidc.login.logout import Logout
from bandmaster.contrib.oidc.login.refresh import SessionRefresher
from bandmaster.contrib.oidc.login.relying_party import RelyingParty
from bandmaster.contrib.oidc.login.session_sockets import SessionSockets
from bandmaster.contrib.oidc.login.settings import LoginSettings
from bandmaster.contrib.oidc.sessions.store import SessionStore

_ID = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Login:
    """The login of an application. Provided by the component ``login``."""

    settings: LoginSettings
    addresses: Addresses
    cookies: CookieWriter
    store: SessionStore
    relying_party: RelyingParty
    refresher: SessionRefresher
    sockets: SessionSockets
    logout: Logout

    def find_handle(self, scope: Scope) -> str | None:
        """The handle of the session that the cookie of a request names; None if the cookie can't name one."""
        handle = read_cookie(scope, self.cookies.name(self.settings.session_cookie))
        # A store on the server also has notes, under ids that sessions can't have.
        if handle is None or (self.store.is_server_side and _ID.fullmatch(handle) is None):
            return None
        return handle

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins whose pages may use sessions: our own first."""
        return (self.addresses.origin, *self.settings.trusted_origins)
