"""The check of `bandmaster check` for settings of authentication that have no effect."""

from __future__ import annotations

from collections.abc import Iterator

from bandmaster.contrib.oidc.access.settings import AccessSettings
from bandmaster.contrib.oidc.devprovider.settings import DevProviderSettings
from bandmaster.contrib.oidc.provider_fields import ProviderFields
from bandmaster.contrib.oidc.settings import AuthSettings
from bandmaster.contrib.oidc.token_store.settings import TokenStoreSettings
from bandmaster.kernel import Application, CheckContribution, Plan, Problem, Settings


def find_idle_settings(settings: AuthSettings) -> Iterator[Problem | str]:
    """The settings of the single provider, where no issuer says that there is one."""
    given = [name for name in ProviderFields.model_fields if name in settings.model_fields_set]
    if settings.issuer is None and given:
        variables = ", ".join(map(settings.variable, given))
        yield (
            f"{settings.variable('issuer')} isn't set, so these have no effect: {variables}. Set it, or write them "
            f"into the entries of {settings.variable('issuers')}."
        )


_SWITCHES: tuple[tuple[type[Settings], str, str, str], ...] = (
    (TokenStoreSettings, "store", "", "no token can be revoked"),
    (AccessSettings, "dev_bypass", "dev_bypass_", "nothing is bypassed"),
    (AccessSettings, "websocket_end", "websocket_recheck", "no WebSocket is closed when its credential ends"),
    (DevProviderSettings, "dev_provider", "dev_provider_", "there is no provider for development"),
)
"""The settings with a field that switches others off, by the beginning of their names, and the consequence."""


def find_switched_off(plan: Plan) -> Iterator[str]:
    """The settings that are set while another setting switches off what they are about."""
    for kind, switch, beginning, consequence in _SWITCHES:
        settings = plan.settings_of(kind)
        if settings is None or getattr(settings, switch):
            continue
        names = [name for name in kind.model_fields if name.startswith(beginning) and name != switch]
        given = ", ".join(settings.variable(name) for name in names if name in settings.model_fields_set)
        if given:
            state = "is off" if switch in settings.model_fields_set else "isn't set"
            yield f"{settings.variable(switch)} {state}, so that {consequence}, and these have no effect: {given}."


def _check_application(application: Application) -> list[Problem | str]:
    settings = application.plan.settings_of(AuthSettings)
    idle = [] if settings is None else find_idle_settings(settings)
    return [*idle, *find_switched_off(application.plan)]


provider_settings = CheckContribution(
    name="provider_settings",
    check=_check_application,
    description="Finds settings of authentication that have no effect, because another one switches them off.",
)
