"""The audit of tenant isolation at the start: findings refuse the start or are logged, as the settings say."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from bandmaster.contrib.persistence.errors import TenantIsolationError
from bandmaster.contrib.persistence.log import log
from bandmaster.contrib.persistence.settings import DatabaseSettings
from bandmaster.contrib.persistence.tenancy.audit import audit_isolation


async def check_isolation(connection: AsyncConnection, settings: DatabaseSettings, database: str) -> None:
    """Audit the isolation of tenants, where the settings require isolation and its audit.

    Raises:
        TenantIsolationError: tenants could see each other's rows, and ``tenant_audit`` is ``refuse``.
    """
    if settings.tenant_isolation != "rls" or settings.tenant_audit == "off":
        return
    audit = await audit_isolation(
        connection,
        column=settings.tenant_column,
        setting=settings.tenant_setting,
        unprotected=settings.tenant_unprotected,
    )
    for remark in audit.remarks:
        log().warning("tenant isolation", database=database, remark=str(remark))
    if not audit.protected and not audit.findings:
        missing = f"no table has the column {settings.tenant_column}: has it been migrated?"
        log().warning("tenant isolation", database=database, remark=missing)
    if not audit.findings:
        return
    lines = "".join(f"\n  - {finding}" for finding in audit.findings)
    message = f"tenants of {database!r} could see each other's rows:{lines}"
    if settings.tenant_audit == "refuse":
        raise TenantIsolationError(
            f"{message}\nMend it, name what may stay open in {settings.variable('tenant_unprotected')}, or set "
            f"{settings.variable('tenant_audit')}=warn"
        )
    log().warning("tenant isolation", database=database, remark=message)
