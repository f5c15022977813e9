"""The check of `bandmaster check` for settings of a provider that have no effect."""

from __future__ import annotations

from collections.abc import Iterator

from bandmaster.contrib.oidc.provider_fields import ProviderFields
from bandmaster.contrib.oidc.settings import AuthSettings
from bandmaster.kernel import Application, CheckContribution, Problem


def find_idle_settings(settings: AuthSettings) -> Iterator[Problem | str]:
    """The settings of the single provider, where no issuer says that there is one."""
    given = [name for name in ProviderFields.model_fields if name in settings.model_fields_set]
    if settings.issuer is None and given:
        variables = ", ".join(map(settings.variable, given))
        yield (
            f"{settings.variable('issuer')} isn't set, so these have no effect: {variables}. Set it, or write them "
            f"into the entries of {settings.variable('issuers')}."
        )


def _check_application(application: Application) -> list[Problem | str]:
    settings = application.plan.settings_of(AuthSettings)
    return [] if settings is None else list(find_idle_settings(settings))


provider_settings = CheckContribution(
    name="provider_settings",
    check=_check_application,
    description="Finds settings of a provider that have no effect without AUTH_ISSUER.",
)
