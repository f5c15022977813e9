"""The check of `bandmaster check`: settings of API keys that have no effect."""

from __future__ import annotations

from collections.abc import Iterator

from bandmaster.contrib.oidc.api_keys.settings import ApiKeySettings
from bandmaster.kernel import Application, CheckContribution, Problem


def find_unused_settings(application: Application) -> Iterator[Problem | str]:
    """Warn of settings that are set while API keys are switched off."""
    settings = application.plan.settings_of(ApiKeySettings)
    if settings is None or settings.is_enabled:
        return
    given = sorted(settings.variable(name) for name in settings.model_fields_set - {"peppers"})
    if given:
        yield (
            f"{', '.join(given)} is set, but {settings.variable('peppers')} isn't, so that there are no API keys."
            if len(given) == 1
            else f"{', '.join(given)} are set, but {settings.variable('peppers')} isn't, so that there are no API keys."
        )


api_key_settings = CheckContribution(
    name="api_key_settings", check=find_unused_settings, description="Settings of API keys that have no effect."
)
