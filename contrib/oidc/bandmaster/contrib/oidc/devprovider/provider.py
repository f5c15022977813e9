"""The provider for development: answers requests, and keeps codes and refresh tokens in memory."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from bandmaster.contrib.oidc.devprovider.authorization import (
    AuthorizationRequest,
    is_on_this_machine,
    read_authorization,
)
from bandmaster.contrib.oidc.devprovider.clients import read_client
from bandmaster.contrib.oidc.devprovider.grants import Codes, Grant, RefreshTokens
from bandmaster.contrib.oidc.devprovider.messages import (
    OAuthError,
    Request,
    Response,
    redirect,
    respond_error,
    respond_json,
    respond_page,
)
from bandmaster.contrib.oidc.devprovider.pages import render_error_page, render_logged_out_page, render_login_page
from bandmaster.contrib.oidc.devprovider.settings import DevUser
from bandmaster.contrib.oidc.devprovider.signing import SigningKey, hash_verifier
from bandmaster.contrib.oidc.devprovider.tokens import TokenIssuer, describe_user, may_grant
from bandmaster.kernel import get_logger

_CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-headers": "authorization, content-type",
    "access-control-allow-methods": "GET, POST",
    "access-control-max-age": "600",
}
"""Pages of the application, such as its documentation, ask for tokens themselves."""


class DevProvider:
    """An OpenID provider at which anyone may log in as any of its users.

    Any client is known, with any secret or none; redirects go to addresses of this machine only. Every login uses PKCE
    with S256. Tokens are lost when the process ends, and so is the key that signs them.
    """

    def __init__(
        self,
        issuer: str,
        users: Iterable[DevUser],
        *,
        audiences: Iterable[str] = (),
        token_seconds: int = 900,
        key: SigningKey | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.issuer = issuer
        self.users = {user.subject: user for user in users}
        self._now = now
        self._tokens = TokenIssuer(issuer, key or SigningKey(), tuple(audiences), token_seconds)
        self._codes = Codes()
        self._refresh_tokens = RefreshTokens()
        self._endpoints: dict[str, dict[str, Callable[[Request], Response]]] = {
            "/.well-known/openid-configuration": {"GET": self._discover},
            "/jwks": {"GET": lambda _request: respond_json(self._tokens.key.publish())},
            "/authorize": {"GET": self._ask_who_logs_in, "POST": self._log_in},
            "/token": {"POST": self._issue_tokens},
            "/userinfo": {"GET": self._tell_about_user, "POST": self._tell_about_user},
            "/introspect": {"POST": self._introspect},
            "/revoke": {"POST": self._revoke},
            "/logout": {"GET": lambda request: self._log_out(request.read_query())},
        }

    def answer(self, request: Request) -> Response:
        """Answer a request."""
        endpoint = self._endpoints.get(request.path)
        # Another name for this machine in Host is a page elsewhere that has its own name point here (DNS rebinding).
        if request.headers.get("host") != urlsplit(self.issuer).netloc:
            return respond_error(OAuthError("invalid_request", f"this provider is at {self.issuer}", status=421))
        if endpoint is None:
            return respond_error(OAuthError("invalid_request", "there is nothing at this path", status=404))
        is_open = request.path not in ("/authorize", "/logout")
        if request.method == "OPTIONS" and is_open:
            return Response(204, _CORS)
        handle = endpoint.get(request.method)
        if handle is None:
            allowed = {"allow": ", ".join(endpoint)}
            return respond_json({"error": "invalid_request"}, 405, **allowed)
        try:
            response = handle(request)
        except OAuthError as error:
            response = respond_error(error)
        return Response(response.status, {**response.headers, **_CORS}, response.body) if is_open else response

    def _discover(self, _request: Request) -> Response:
        return respond_json(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "userinfo_endpoint": f"{self.issuer}/userinfo",
                "jwks_uri": f"{self.issuer}/jwks",
                "introspection_endpoint": f"{self.issuer}/introspect",
                "revocation_endpoint": f"{self.issuer}/revoke",
                "end_session_endpoint": f"{self.issuer}/logout",
                "scopes_supported": ["openid", "profile", "email", "offline_access"],
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
                "authorization_response_iss_parameter_supported": True,
            }
        )

    def _ask_who_logs_in(self, request: Request) -> Response:
        return self._authorize(request, self._show_login_page)

    def _log_in(self, request: Request) -> Response:
        return self._authorize(request, lambda asked: self._finish_login(asked, request.read_form()))

    def _authorize(self, request: Request, answer: Callable[[AuthorizationRequest], Response]) -> Response:
        try:
            asked = read_authorization(request.read_query())
        except OAuthError as error:
            return respond_page(render_error_page(error.description), error.status)
        try:
            if asked.problem is not None:
                raise asked.problem
            return answer(asked)
        except OAuthError as error:
            return self._return_to(asked, {"error": error.code, "error_description": error.description})

    def _show_login_page(self, asked: AuthorizationRequest) -> Response:
        if "none" in asked.prompt:
            raise OAuthError("login_required", "this provider keeps no session, so somebody has to choose a user")
        return respond_page(render_login_page(self.users.values(), asked.client_id, asked.login_hint))

    def _finish_login(self, asked: AuthorizationRequest, form: dict[str, str]) -> Response:
        user = self.users.get(form.get("user", ""))
        if user is None:
            raise OAuthError("access_denied", "nobody has logged in")
        scopes = tuple(scope for scope in asked.scopes if may_grant(user, scope))
        now = self._now()
        session = secrets.token_urlsafe(16)
        grant = Grant(user, asked.client_id, scopes, asked.resource, asked.nonce, now, session)
        get_logger("bandmaster.oidc").info("login at the provider for development", user=user.subject)
        return self._return_to(asked, {"code": self._codes.issue(grant, asked.redirect_uri, asked.challenge, now)})

    def _return_to(self, asked: AuthorizationRequest, parameters: dict[str, str]) -> Response:
        # RFC 9207: the issuer tells the application which provider answers.
        state = {} if asked.state is None else {"state": asked.state}
        return redirect(asked.redirect_uri, {**parameters, **state, "iss": self.issuer})

    def _issue_tokens(self, request: Request) -> Response:
        form = request.read_form()
        client_id = read_client(request.headers, form)
        grant_type = form.get("grant_type")
        if grant_type == "authorization_code":
            return self._redeem_code(client_id, form)
        if grant_type == "refresh_token":
            return self._refresh(client_id, form)
        if grant_type == "client_credentials":
            scopes = tuple(form.get("scope", "").split())
            issued = self._tokens.issue_to_client(client_id, scopes, form.get("resource"), self._now())
            return respond_json(issued.as_answer())
        raise OAuthError("unsupported_grant_type", "the grant type isn't one of those in the discovery document")

    def _redeem_code(self, client_id: str, form: dict[str, str]) -> Response:
        pending = self._codes.spend(form.get("code", ""), self._now())
        if pending is None:
            raise OAuthError("invalid_grant", "the code is unknown, spent or expired")
        if (pending.grant.client_id, pending.redirect_uri) != (client_id, form.get("redirect_uri")):
            raise OAuthError("invalid_grant", "the code was issued to another client or redirect address")
        if pending.challenge != hash_verifier(form.get("code_verifier", "")):
            raise OAuthError("invalid_grant", "the code verifier doesn't fit the challenge")
        return self._respond_with_tokens(pending.grant, form.get("resource"))

    def _refresh(self, client_id: str, form: dict[str, str]) -> Response:
        grant = self._refresh_tokens.spend(form.get("refresh_token", ""), self._now())
        if grant is None or grant.client_id != client_id:
            raise OAuthError("invalid_grant", "the refresh token is unknown, spent, expired or another client's")
        return self._respond_with_tokens(grant, form.get("resource"))

    def _respond_with_tokens(self, grant: Grant, resource: str | None) -> Response:
        now = self._now()
        answer = self._tokens.issue_to_user(grant, resource, now).as_answer()
        return respond_json({**answer, "refresh_token": self._refresh_tokens.issue(grant, now)})

    def _tell_about_user(self, request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        claims = self._tokens.read_access_token(token.strip(), self._now()) if scheme.lower() == "bearer" else None
        user = None if claims is None else self.users.get(claims["sub"])
        if claims is None or user is None:
            raise OAuthError(
                "invalid_token", "the access token isn't one of this provider's, or has expired", status=401
            )
        return respond_json({**describe_user(user, claims["scope"].split()), "sub": user.subject})

    def _introspect(self, request: Request) -> Response:
        form = request.read_form()
        read_client(request.headers, form)
        token, now = form.get("token", ""), self._now()
        if (claims := self._tokens.read_access_token(token, now)) is not None:
            return respond_json({"active": True, "token_type": "Bearer", **claims})
        grant = self._refresh_tokens.find(token, now)
        if grant is None:
            return respond_json({"active": False})
        return respond_json({"active": True, "sub": grant.user.subject, "client_id": grant.client_id})

    def _revoke(self, request: Request) -> Response:
        form = request.read_form()
        read_client(request.headers, form)
        # An access token is a JWT, which lives until it expires.
        self._refresh_tokens.revoke(form.get("token", ""), self._now())
        return Response(200)

    def _log_out(self, query: dict[str, str]) -> Response:
        target = query.get("post_logout_redirect_uri")
        if target is None or not is_on_this_machine(target):
            return respond_page(render_logged_out_page())
        return redirect(target, {"state": query["state"]} if "state" in query else {})
