"""The check of `bandmaster check`: settings of the login that have no effect."""

from __future__ import annotations

from collections.abc import Iterator

from bandmaster.contrib.oidc.login.settings import LoginSettings
from bandmaster.contrib.oidc.settings import AuthSettings
from bandmaster.kernel import Application, CheckContribution, Problem


def find_idle_settings(application: Application) -> Iterator[Problem | str]:
    """Warn of settings that are set while users can log in nowhere."""
    auth, login = application.plan.settings_of(AuthSettings), application.plan.settings_of(LoginSettings)
    if auth is None or login is None or auth.has_login:
        return
    given = [login.variable(name) for name in type(login).model_fields if name in login.model_fields_set]
    if given:
        yield (
            f"no provider has a client for logins, so these have no effect: {', '.join(given)}. Set "
            f"{auth.variable('client_id')}, or write a client_id into the entries of {auth.variable('issuers')}."
        )


login_settings = CheckContribution(
    name="login_settings", check=find_idle_settings, description="Settings of the login that have no effect."
)
