"""The layer that turns a bearer token into a principal, for HTTP and for WebSockets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bandmaster.contrib.oidc.access.bearer_token import SUBPROTOCOL, Credential, find_credential, hide_token
from bandmaster.contrib.oidc.access.first_message import AcceptedWebSocket, receive_token
from bandmaster.contrib.oidc.access.settings import AccessSettings
from bandmaster.contrib.oidc.errors import AuthUnavailableError, CredentialError, InvalidRequestError
from bandmaster.contrib.oidc.principal import get_principal, set_principal
from bandmaster.contrib.oidc.refusals import refuse
from bandmaster.contrib.oidc.revocations import MissingTokenStore, RevocationCheck, RevocationList
from bandmaster.contrib.oidc.settings import AuthSettings
from bandmaster.contrib.oidc.token_store.settings import TokenStoreSettings
from bandmaster.contrib.oidc.token_store.store import TokenStore
from bandmaster.contrib.oidc.verifier import TokenVerifier
from bandmaster.kernel import MiddlewareBand, middleware


@middleware(
    band=MiddlewareBand.SECURITY,
    name="bearer_auth",
)
class BearerAuth:
    """Finds the bearer token of a request, has the token verified, and sets the principal.

    A request without a bearer token passes: whether a route needs a principal is for `require` to say. A request with a
    bad token is refused, also by a route that needs none.
    """

    def __new__(cls, app: ASGIApp, settings: AuthSettings, verifier: TokenVerifier | None = None, **_: Any) -> Any:
        """A layer, or the app itself where nothing verifies tokens, so that the layer costs nothing."""
        return app if verifier is None and not settings.providers else super().__new__(cls)

    def __init__(
        self,
        app: ASGIApp,
        settings: AuthSettings,
        access: AccessSettings,
        tokens: TokenStoreSettings,
        revocations: Sequence[RevocationList],
        verifier: TokenVerifier | None = None,
        store: TokenStore | None = None,
    ) -> None:
        self._app = app
        self._verifier = verifier
        # The token store is among the lists. One that failed to start must not let revoked tokens in.
        missing = [MissingTokenStore()] if tokens.store is not None and store is None else []
        self.revocations = RevocationCheck([*revocations, *missing], access.without_revocations)
        """The check for revoked tokens, with the count of those that passed without one."""
        self._first_message_timeout = access.first_message_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one WebSocket."""
        try:
            credential = find_credential(scope)
            if credential.token is not None and not _is_accepted_key(scope, credential):
                await self._authenticate(scope, credential.token)
        except (CredentialError, AuthUnavailableError) as error:
            await refuse(scope, receive, send, error)
            return
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
        elif credential.in_first_message and get_principal(scope) is None:
            await self._serve_after_first_message(scope, receive, send)
        else:
            await self._serve_websocket(scope, receive, send)

    async def _authenticate(self, scope: Scope, token: str) -> None:
        if self._verifier is None:
            raise AuthUnavailableError("the component that verifies tokens isn't there, because its start failed")
        principal = await self._verifier.verify(token)
        await self.revocations.check(principal)
        set_principal(scope, principal)

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        offered = scope.get("subprotocols") or ()
        hide_token(scope)
        selects = SUBPROTOCOL in offered and get_principal(scope) is not None

        async def send_subprotocol(message: Message) -> None:
            # Browsers close a connection whose server selects none of the subprotocols that they offer.
            if message["type"] == "websocket.accept" and not message.get("subprotocol"):
                message = {**message, "subprotocol": SUBPROTOCOL}
            await send(message)

        await self._app(scope, receive, send_subprotocol if selects else send)

    async def _serve_after_first_message(self, scope: Scope, receive: Receive, send: Send) -> None:
        websocket = AcceptedWebSocket(receive, send)
        await websocket.accept(SUBPROTOCOL)
        try:
            token = await receive_token(receive, self._first_message_timeout)
            if token is None:  # the client has left
                return
            await self._authenticate(scope, token)
        except (CredentialError, AuthUnavailableError) as error:
            await refuse(scope, websocket.receive, websocket.send, error)
            return
        await self._app(scope, websocket.receive, websocket.send)


def _is_accepted_key(scope: Scope, credential: Credential) -> bool:
    """Whether the Authorization header has the API key that a layer further out has accepted.

    Raises:
        InvalidRequestError: the token is beside an API key.
    """
    known = get_principal(scope)
    if known is None or known.kind != "api_key":
        return False
    if not credential.in_header:
        raise InvalidRequestError("there is a bearer token beside an API key")
    return True
