"""The routes of the login, all below ``/auth``."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from bandmaster.contrib.oidc.auth_events import report_auth_event
from bandmaster.contrib.oidc.errors import (
    AuthUnavailableError,
    CredentialError,
    InvalidRequestError,
    SessionTooLargeError,
)
from bandmaster.contrib.oidc.login.addresses import DEFAULT_PROVIDER, PREFIX
from bandmaster.contrib.oidc.login.answers import (
    answer_failed_login,
    answer_problem,
    answer_too_large,
    answer_unavailable,
    log_failed_login,
)
from bandmaster.contrib.oidc.login.authorization import FIELDS, read_fields, read_response
from bandmaster.contrib.oidc.login.cookies import read_cookies
from bandmaster.contrib.oidc.login.csrf import Sender, find_sender, is_token, may_change
from bandmaster.contrib.oidc.login.navigation import is_embedded
from bandmaster.contrib.oidc.login.pages import PAGE_POLICY, REPOST_POLICY, render_choice, render_logout, render_repost
from bandmaster.contrib.oidc.login.service import Login
from bandmaster.contrib.oidc.login.session_layer import get_session, make_principal
from bandmaster.contrib.oidc.login.settings import is_login_on
from bandmaster.contrib.oidc.principal import get_principal
from bandmaster.contrib.oidc.sessions.store import Session
from bandmaster.contrib.oidc.settings import IssuerSettings
from bandmaster.kernel import RouteContribution, get_logger

_MOST_FORM_BYTES = 64 * 1024
_REPOSTED = "reposted"
_LOGOUT_COOKIE = "logout"
_LOGOUT_SECONDS = 600
_PRIVATE = {"cache-control": "no-store", "referrer-policy": "same-origin"}

_Handler = Callable[[Request, Login], Awaitable[Response]]


def _serve(handler: _Handler) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint of a handler that needs the login. A provider or a store that is away gives 503."""

    async def endpoint(request: Request) -> Response:
        login: Login = request.state.resources[Login]
        try:
            response = await handler(request, login)
        except AuthUnavailableError as error:
            response = answer_unavailable(request, error)
        for name, value in _PRIVATE.items():
            response.headers.setdefault(name, value)
        return response

    return endpoint


async def _begin_login(request: Request, login: Login) -> Response:
    """Send the browser to the provider."""
    party, query = login.relying_party, request.query_params
    if request.method == "GET" and login.addresses.is_twin(request.headers.get("host", "")):
        asked = f"?{request.url.query}" if request.url.query else ""
        name = request.path_params.get("provider")
        return _redirect(login.addresses.begin(name) + asked, [])
    return_to = login.addresses.keep_same_origin(
        query.get("return_to") or query.get("target_link_uri"), login.settings.after_login
    )
    provider = _choose_provider(request, login)
    if provider is None and "provider" in request.path_params:
        return answer_problem(request, 404, "There is no such provider.")
    if provider is None:
        links = [(name, login.addresses.login_path(name, return_to)) for name in party.providers]
        return _show_page(render_choice(links), PAGE_POLICY)
    begun = await party.begin(
        provider, return_to, read_cookies(request.scope), login_hint=_bound(query.get("login_hint"))
    )
    return _redirect(begun.url, begun.cookies)


def _choose_provider(request: Request, login: Login) -> IssuerSettings | None:
    """The provider that the request names: by the name in the path, or by the issuer (OpenID Connect Core, section 4).

    The only provider needn't be named. None: there are several, or the name is unknown.
    """
    providers = login.relying_party.providers
    if (name := request.path_params.get("provider")) is not None:
        return providers.get(name)
    if (issuer := request.query_params.get("iss")) is not None:
        return next((one for one in providers.values() if one.issuer == issuer), None)
    return next(iter(providers.values())) if len(providers) == 1 else None


def _bound(text: str | None) -> str | None:
    return text if text and len(text) <= 256 else None  # a name or an address


async def _finish_login(request: Request, login: Login) -> Response:
    """Take the provider's answer, and give the browser a session."""
    provider = request.path_params.get("provider", DEFAULT_PROVIDER)
    try:
        fields = read_fields(
            await _read_body(request) if request.method == "POST" else request.scope.get("query_string", b"")
        )
        response = read_response(fields)
        pending = login.relying_party.pending.find(response.state, read_cookies(request.scope))
        if pending is None and request.method == "POST" and _REPOSTED not in fields:
            return _repost(request, login, provider, fields)
        if pending is None:
            raise InvalidRequestError("this browser has begun no such login, or it has taken too long")
        forget = login.relying_party.pending.forget(response.state)
        try:
            session = await login.relying_party.finish(provider, response, pending)
            cookie = await _store(request, login, session)
        except CredentialError as error:
            return _add_cookies(answer_failed_login(request, login, provider, error), [forget])
        except SessionTooLargeError as error:
            return _add_cookies(answer_too_large(request, provider, error), [forget])
        except AuthUnavailableError as error:
            log_failed_login(request.scope, provider, error, 503)
            return _add_cookies(answer_unavailable(request, error), [forget])
    except InvalidRequestError as error:
        return answer_failed_login(request, login, provider, error)
    get_logger("bandmaster.oidc").info("login", provider=session.provider, subject=session.subject)
    report_auth_event(request.scope, "login", succeeded=True, principal=make_principal(session))
    return _redirect(pending.return_to, [cookie, forget])


async def _store(request: Request, login: Login, session: Session) -> str:
    """Store a new session in place of the browser's old one; the cookie for the new one.

    A login always gives a new id, so that nobody can choose the id of another person's session beforehand.
    """
    name = login.settings.session_cookie
    old = login.find_handle(request.scope)
    replaced = None if old is None else await login.store.get(old)
    handle = None
    if old is not None and replaced is not None:
        handle = await login.store.replace(old, session)
        await login.sockets.end(replaced.id)
    if handle is None:
        handle = await login.store.put(session)
    login.refresher.learn_lifetime(
        session.provider,
        None if session.access_expires_at is None else session.access_expires_at - session.created_at,
    )
    return login.cookies.set(name, handle, login.settings.session_lifetime)


def _repost(request: Request, login: Login, provider: str, fields: dict[str, str]) -> Response:
    """Let the browser send the form once more, now from our own origin.

    A form that another site sends comes without our cookies, because those are ``SameSite=Lax``.
    """
    kept = {name: value for name, value in fields.items() if name in FIELDS}
    page = render_repost(login.addresses.callback(provider), {**kept, _REPOSTED: "1"})
    return _show_page(page, REPOST_POLICY)


async def _log_out(request: Request, login: Login) -> Response:
    """End the session, here first, then at the provider."""
    name = login.settings.session_cookie
    handle = login.find_handle(request.scope)
    session = None if handle is None else await login.store.get(handle)
    after = login.addresses.below(login.settings.after_logout)
    if handle is None or session is None:
        return _redirect(after, [] if handle is None else [login.cookies.clear(name)])
    if not await _may_log_out(request, login, session):
        if request.method == "POST":
            return answer_problem(request, 403, "Pages of another origin may not log users out.")
        page = render_logout(f"{login.addresses.path}{PREFIX}/logout", {"csrf_token": session.csrf_token})
        return _show_page(page, PAGE_POLICY)
    await login.logout.end(handle, session)
    report_auth_event(request.scope, "logout", succeeded=True, principal=make_principal(session))
    state = secrets.token_urlsafe(32)
    target = await login.logout.find_provider_logout(session, state)
    cleared = login.cookies.clear(name)
    if target is None:
        return _redirect(after, [cleared])
    return _redirect(target, [cleared, login.cookies.set(_LOGOUT_COOKIE, state, _LOGOUT_SECONDS)])


async def _may_log_out(request: Request, login: Login, session: Session) -> bool:
    """Whether our own page, or the user, wants the logout. A link on another site only leads to a question.

    So does an image on our own page, whose address another user may have written.
    """
    if request.method in ("GET", "HEAD"):
        return find_sender(request.scope, login.origins) is Sender.OURS and not is_embedded(request.scope)
    if may_change(request.scope, login.origins, session.csrf_token):
        return True
    try:
        fields = read_fields(await _read_body(request))
    except InvalidRequestError:
        return False
    return is_token(fields.get("csrf_token"), session.csrf_token)


async def _land_after_logout(request: Request, login: Login) -> Response:
    """Take the browser back from the provider after a logout."""
    expected = read_cookies(request.scope).get(login.cookies.name(_LOGOUT_COOKIE))
    after = login.addresses.below(login.settings.after_logout)
    if expected is None:
        return _redirect(after, [])
    if not is_token(request.query_params.get("state"), expected):
        # The session has ended all the same, so the user isn't bothered.
        get_logger("bandmaster.oidc").warning("a provider returned from a logout with another state, or none")
    return _redirect(after, [login.cookies.clear(_LOGOUT_COOKIE)])


async def _log_out_by_provider(request: Request, login: Login) -> Response:
    """End the sessions that a provider's logout token names (Back-Channel Logout, sections 2.5 to 2.8)."""
    if not login.store.is_server_side:
        # The provider learns that the sessions go on: no server knows them.
        get_logger("bandmaster.oidc").warning("a logout token can't end sessions in cookies")
        return JSONResponse({"error": "unsupported"}, 501)
    try:
        fields = read_fields(await _read_body(request))
        if not fields.get("logout_token"):
            raise InvalidRequestError("there is no logout token")
        await login.logout.end_by_provider(fields["logout_token"])
        report_auth_event(request.scope, "logout.by_provider", succeeded=True)
    except CredentialError as error:
        get_logger("bandmaster.oidc").warning("a logout token was refused", reason=str(error))
        report_auth_event(request.scope, "logout.by_provider", succeeded=False, reason=str(error), status=400)
        return JSONResponse({"error": "invalid_request"}, 400)
    return Response(status_code=200)


async def _show_profile(request: Request, _: Login) -> Response:
    """Who is logged in, as JSON, with the token that a page sends along with requests that change something."""
    principal, session = get_principal(request.scope), get_session(request.scope)
    if principal is None:
        return answer_problem(request, 401, "This needs a login.", {"www-authenticate": "Bearer"})
    shown: dict[str, Any] = {
        "sub": principal.subject,
        "iss": principal.issuer,
        "kind": principal.kind,
        "scopes": sorted(principal.scopes),
        "expires_at": principal.expires_at,
    }
    if session is not None:
        claims = {name: value for name, value in session.claims.items() if name not in shown}
        shown |= {"provider": session.provider, "csrf_token": session.csrf_token, "claims": claims}
    return JSONResponse(shown)


async def _read_body(request: Request) -> bytes:
    """The body of a form.

    Raises:
        InvalidRequestError: the body isn't a form, or is too long.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/x-www-form-urlencoded":
        raise InvalidRequestError("the body isn't a form")
    body = bytearray()
    # Closed here: trio warns of a generator that is left to the garbage collector.
    async with aclosing(request.stream()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > _MOST_FORM_BYTES:
                raise InvalidRequestError("the form is too long")
    return bytes(body)


def _redirect(url: str, cookies: Iterable[str]) -> Response:
    # RFC 9110, 15.4.4: the browser follows with GET.
    return _add_cookies(RedirectResponse(url, 303), cookies)


def _show_page(page: str, policy: str) -> Response:
    return HTMLResponse(page, headers={"content-security-policy": policy})


def _add_cookies(response: Response, cookies: Iterable[str]) -> Response:
    for cookie in cookies:
        response.headers.append("set-cookie", cookie)
    return response


def make_routes() -> list[Route]:
    """The routes, below ``/auth``."""
    return [
        Route("/login", _serve(_begin_login), methods=["GET", "POST"], name="auth_login", include_in_schema=False),
        Route("/login/{provider}", _serve(_begin_login), methods=["GET", "POST"], include_in_schema=False),
        Route("/callback", _serve(_finish_login), methods=["GET", "POST"], include_in_schema=False),
        Route("/callback/{provider}", _serve(_finish_login), methods=["GET", "POST"], include_in_schema=False),
        Route("/logout", _serve(_log_out), methods=["GET", "POST"], name="auth_logout", include_in_schema=False),
        Route("/logged-out", _serve(_land_after_logout), include_in_schema=False),
        Route("/backchannel-logout", _serve(_log_out_by_provider), methods=["POST"], include_in_schema=False),
        Route("/profile", _serve(_show_profile), name="auth_profile", include_in_schema=False),
    ]


login_routes = RouteContribution(
    name="login",
    routes=make_routes,
    prefix=PREFIX,
    tags=("auth",),
    when=is_login_on,
    description="Login, callback, logout, back-channel logout and profile.",
)
"""The routes below ``/auth`` by which users log in and out. Contributed by the entry point ``login``."""
