"""The layer that turns a session cookie into a principal, for HTTP and for WebSockets."""

from __future__ import annotations

import re
from types import MappingProxyType

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from bandmaster.contrib.oidc.auth_events import report_auth_event
from bandmaster.contrib.oidc.errors import AuthUnavailableError
from bandmaster.contrib.oidc.login.addresses import PREFIX
from bandmaster.contrib.oidc.login.csrf import Sender, find_sender, may_change
from bandmaster.contrib.oidc.login.login_offer import LoginOffer
from bandmaster.contrib.oidc.login.navigation import find_path
from bandmaster.contrib.oidc.login.service import Login
from bandmaster.contrib.oidc.login.settings import is_login_on
from bandmaster.contrib.oidc.principal import Principal, get_principal, set_principal
from bandmaster.contrib.oidc.refusals import refuse
from bandmaster.contrib.oidc.sessions.store import Session, hash_id
from bandmaster.contrib.web import ProblemDetails, problem_response, refuse_websocket
from bandmaster.kernel import MiddlewareBand, current_websocket, get_logger, middleware

_OWN_ROUTES = re.compile(rf"{PREFIX}/(login|callback|logout|logged-out|backchannel-logout)(/[^/]*)?")
_FOREIGN = ProblemDetails(
    status=403,
    detail="A page of another origin may not use this session. Send the session's token as X-CSRF-Token.",
)
_FOREIGN_WEBSOCKET = ProblemDetails(status=403, detail="Pages of this origin may not use this session.")


@middleware(
    band=MiddlewareBand.SECURITY,
    priority=MiddlewareBand.SECURITY.priorities[60],
    name="session_auth",
    after={"trusted_host", "websocket_origin", "limits", "bearer_auth", "api_key_auth"},
    when=is_login_on,
)
class SessionAuth:
    """Finds the session of a request by the cookie, has the session refreshed in time, and sets the principal.

    A request without a session, or with one that has ended, passes: whether a route needs a principal is for `require`
    to say, and where a request is refused for want of one, a login is offered. The layer never sends a cookie, so that
    no late response can undo a login or a logout. A request that has a principal already, by a token or a key, isn't
    looked at.
    """

    def __init__(self, app: ASGIApp, login: Login) -> None:
        self._app = app
        self._login = login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one WebSocket."""
        if get_principal(scope) is not None or _OWN_ROUTES.fullmatch(find_path(scope)):
            # The routes of the login look for the session themselves, with rules of their own.
            await self._app(scope, receive, send)
            return
        handle = self._login.find_handle(scope)
        session = None
        if handle is not None:
            try:
                session = await self._login.refresher.load(handle)
            except AuthUnavailableError as error:
                await refuse(scope, receive, send, error)
                return
        if scope["type"] == "websocket":
            await self._serve_websocket(scope, receive, send, handle or "", session)
        else:
            await self._serve_request(scope, receive, send, session)

    async def _serve_request(self, scope: Scope, receive: Receive, send: Send, session: Session | None) -> None:
        if session is not None:
            if not may_change(scope, self._login.origins, session.csrf_token):
                _log_foreign(scope, session)
                await problem_response(Request(scope, receive), _FOREIGN)(scope, receive, send)
                return
            _note_session(scope, session)
        await self._app(scope, receive, LoginOffer(scope, send, self._login.addresses))

    async def _serve_websocket(
        self, scope: Scope, receive: Receive, send: Send, handle: str, session: Session | None
    ) -> None:
        if session is None:
            await self._app(scope, receive, send)
            return
        # CORS doesn't cover WebSockets: a page of any origin may open one, with the user's cookies.
        if find_sender(scope, self._login.origins) is Sender.FOREIGN:
            _log_foreign(scope, session)
            await refuse_websocket(WebSocket(scope, receive, send), _FOREIGN_WEBSOCKET)
            return
        _note_session(scope, session)
        websocket = current_websocket()
        if websocket is None:
            await self._app(scope, receive, send)
            return
        with self._login.sockets.watch(handle, session, websocket):
            await self._app(scope, receive, send)


def get_session(scope: Scope) -> Session | None:
    """The session of a request; None if the request has another credential, or none.

    A handler that calls other services for the user finds the access token there.
    """
    state = scope.get("state")
    return None if state is None else state.get("session")


def make_principal(session: Session) -> Principal:
    """Who a session stands for."""
    return Principal(
        subject=session.subject,
        issuer=session.issuer,
        scopes=session.scopes,
        kind="session",
        credential_id=hash_id(session.id),
        session_id=session.sid,
        issued_at=session.created_at,
        expires_at=session.expires_at,
        claims=MappingProxyType({**session.claims, "sub": session.subject, "iss": session.issuer}),
    )


def _note_session(scope: Scope, session: Session) -> None:
    scope.setdefault("state", {})["session"] = session
    set_principal(scope, make_principal(session))


def _log_foreign(scope: Scope, session: Session) -> None:
    get_logger("bandmaster.oidc").warning(
        "request refused",
        path=scope["path"],
        method=scope.get("method", "GET"),
        reason="a page of another origin sent a session cookie without the session's token",
        session=hash_id(session.id)[:12],
    )
    report_auth_event(
        scope,
        "request.refused",
        succeeded=False,
        principal=make_principal(session),
        reason="a page of another origin sent a session cookie",
        status=403,
    )
