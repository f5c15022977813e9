"""The check of `bandmaster check`: settings of Sentry that have no effect."""

from __future__ import annotations

from collections.abc import Iterator

from bandmaster.contrib.logging.sentry.settings import SentrySettings
from bandmaster.kernel import Application, CheckContribution, Problem


def find_unused_settings(application: Application) -> Iterator[Problem | str]:
    """Warn of settings that are set while no error is sent."""
    settings = application.plan.settings_of(SentrySettings)
    if settings is None or settings.is_enabled:
        return
    given = sorted(settings.variable(name) for name in settings.model_fields_set - {"dsn"})
    if given:
        verb = "are" if len(given) > 1 else "is"
        yield f"{', '.join(given)} {verb} set, but {settings.variable('dsn')} isn't, so that no error is sent."


sentry_settings = CheckContribution(
    name="sentry_settings", check=find_unused_settings, description="Settings of Sentry that have no effect."
)
