"""`ApiKeyAuth`: the layer that finds an API key in a request, and sets the principal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from bandmaster.contrib.oidc.api_keys.service import ApiKeys
from bandmaster.contrib.oidc.api_keys.settings import ApiKeySettings
from bandmaster.contrib.oidc.auth_events import AuthListener, report_auth_event
from bandmaster.contrib.oidc.errors import AuthUnavailableError, CredentialError, InvalidRequestError
from bandmaster.contrib.oidc.principal import set_principal
from bandmaster.contrib.oidc.refusals import refuse
from bandmaster.kernel import MiddlewareBand, middleware

_AUTHORIZATION = b"authorization"
_BEARER = b"bearer "


def has_peppers(settings: ApiKeySettings) -> bool:
    """Whether API keys are switched on."""
    return settings.is_enabled


@middleware(
    band=MiddlewareBand.SECURITY,
    name="api_key_auth",
    # A key in the Authorization header is no token: the layer for tokens finds the principal set.
    before=("bearer_auth",),
    when=has_peppers,
)
class ApiKeyAuth:
    """Accepts API keys in ``Authorization: Bearer bmk_...`` and in ``X-API-Key``, for HTTP and WebSockets.

    A request without a key passes unchanged. A key that holds sets the principal, of the kind ``api_key``. A key that
    doesn't hold is refused with 401, also where a route requires nobody. Credentials in two places are refused with
    400 (RFC 6750, section 2), and 503 means that keys can't be checked at the moment.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: ApiKeySettings,
        keys: ApiKeys | None = None,
        listeners: Sequence[AuthListener] = (),
    ) -> None:
        self._app = app
        self._keys = keys
        self._has_listeners = bool(listeners)
        self._header = settings.header.lower().encode("ascii")
        self._mark = f"{settings.prefix}_".encode("ascii")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one WebSocket."""
        try:
            key = self._find_key(scope["headers"])
            if key is not None:
                if self._keys is None:
                    raise AuthUnavailableError("the component of API keys isn't there, because its start failed")
                principal = await self._keys.verify(key)
                set_principal(scope, principal)
                if self._has_listeners:
                    report_auth_event(scope, "api_key.used", succeeded=True, principal=principal)
        except (CredentialError, AuthUnavailableError) as error:
            await refuse(scope, receive, send, error)
            return
        await self._app(scope, receive, send)

    def _find_key(self, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """The key of a request; None if there is none.

        Raises:
            InvalidRequestError: there are credentials in several places.
        """
        header, authorizations = self._header, 0
        in_header: bytes | None = None
        in_bearer: bytes | None = None
        credentials = 0
        for name, value in headers:
            if name == header:
                credentials += 1
                in_header = value.strip()
            elif name == _AUTHORIZATION:
                authorizations += 1
                if value[:7].lower() == _BEARER:
                    credentials += 1
                    token = value[7:].strip()
                    if token.startswith(self._mark):
                        in_bearer = token
        key = in_bearer if in_header is None else in_header
        if key is None:
            return None
        if credentials > 1 or (in_bearer is not None and authorizations > 1):
            raise InvalidRequestError("the request has an API key, and a second credential in another place")
        return key.decode("latin-1")
