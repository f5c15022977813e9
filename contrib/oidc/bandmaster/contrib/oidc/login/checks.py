"""The check of `bandmaster check`: settings of the login that have no effect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bandmaster.contrib.oidc.login.settings import LoginSettings
from bandmaster.contrib.oidc.sessions.settings import SessionSettings
from bandmaster.contrib.oidc.sessions.store import SessionStore
from bandmaster.contrib.oidc.settings import AuthSettings
from bandmaster.contrib.oidc.several_processes import is_asked_for
from bandmaster.kernel import Application, CheckContribution, Problem, Settings

_OF_LOGIN = (
    "login_scopes",
    "response_mode",
    "userinfo",
    "userinfo_url",
    "end_session_url",
    "grant_params",
)
"""The settings of providers that only logins use."""


def find_idle_settings(application: Application) -> Iterator[Problem | str]:
    """Warn of settings that are set while users can log in nowhere."""
    plan = application.plan
    auth, login, sessions = (
        plan.settings_of(AuthSettings),
        plan.settings_of(LoginSettings),
        plan.settings_of(SessionSettings),
    )
    if auth is None or login is None or auth.has_login:
        return
    given = _list_given(login, LoginSettings.model_fields)
    given += _list_given(auth, ["public_url", *(_OF_LOGIN if auth.issuer is not None else ())])
    if sessions is not None and not is_asked_for(plan, SessionStore):
        # The component of the store warns of AUTH_SESSION_STORE.
        given += _list_given(sessions, [name for name in SessionSettings.model_fields if name != "store"])
    if given:
        yield (
            f"no provider has a client for logins, so these have no effect: {', '.join(given)}. Set "
            f"{auth.variable('client_id')}, or write a client_id into the entries of {auth.variable('issuers')}."
        )


def _list_given(settings: Settings, names: Iterable[str]) -> list[str]:
    return [settings.variable(name) for name in names if name in settings.model_fields_set]


login_settings = CheckContribution(
    name="login_settings", check=find_idle_settings, description="Settings of the login that have no effect."
)
