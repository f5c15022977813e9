"""The check of `bandmaster check`: settings of the audit trail that have no effect."""

from __future__ import annotations

from collections.abc import Iterator

from bandmaster.contrib.audit.settings import AuditSettings
from bandmaster.kernel import Application, CheckContribution, Problem

_ONLY_SQL = ("pool_size", "lock_timeout", "verify_interval", "checkpoint_file")


def find_unused_settings(application: Application) -> Iterator[Problem | str]:
    """Warn of settings that another one switches off."""
    settings = application.plan.settings_of(AuditSettings)
    if settings is None:
        return
    store = settings.variable("store")
    if not settings.is_enabled:
        names, reason = sorted(settings.model_fields_set - {"store"}), f"{store} isn't, so that there is no audit trail"
    elif settings.store == "memory":
        names, reason = sorted(settings.model_fields_set & {*_ONLY_SQL}), f"{store} is memory"
    else:
        names, reason = sorted(settings.model_fields_set & {"memory_entries"}), f"{store} is sql"
    for name in names:
        yield f"{settings.variable(name)} is set, but {reason}."


audit_settings = CheckContribution(
    name="audit_settings", check=find_unused_settings, description="Settings of the audit trail that have no effect."
)
