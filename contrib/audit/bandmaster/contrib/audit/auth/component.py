"""The component that writes events of authentication to the audit trail."""

from __future__ import annotations

from collections.abc import AsyncIterator

from bandmaster.contrib.audit.auth.writer import AuthEventWriter
from bandmaster.contrib.audit.recording import AuditLog
from bandmaster.contrib.audit.settings import AuditSettings
from bandmaster.contrib.oidc import AuthListener
from bandmaster.kernel import Context, LifespanBand, Redactor, lifespan


def records_auth_events(settings: AuditSettings) -> bool:
    """Whether events of authentication become entries."""
    return settings.is_enabled and bool(settings.auth_events)


@lifespan(
    band=LifespanBand.SERVICES, name="audit_auth_events", when=records_auth_events, provides=AuthListener, roles={"web"}
)
async def audit_auth_events(
    settings: AuditSettings, audit: AuditLog, redactor: Redactor | None, context: Context
) -> AsyncIterator[AuthEventWriter]:
    """Logins, logouts and refused requests in the audit trail."""
    writer = AuthEventWriter(audit, settings.auth_events, size=settings.auth_queue, redactor=redactor)
    context.supervise(writer.run, name="audit_auth_writer")
    yield writer
    await writer.write_last()
