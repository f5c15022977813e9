"""The parts that need bandmaster-persistence, for entry points; without that package they are left out of the plan."""

from __future__ import annotations

from collections.abc import AsyncIterator

from bandmaster.contrib.oidc.api_keys.settings import is_installed
from bandmaster.kernel import LifespanBand, LifespanContribution, ValueContribution, lifespan, value

# An entry point is loaded in every installation, with the extra [sql] or without it.
if is_installed("bandmaster.contrib.persistence"):
    from bandmaster.contrib.oidc.api_keys.sql_component import api_key_sql_store
    from bandmaster.contrib.oidc.api_keys.tables import api_key_migrations
else:

    def _leave_out() -> bool:
        return False

    async def _start_nothing() -> AsyncIterator[None]:
        yield

    _REASON = "Needs the extra bandmaster-oidc[sql]."
    api_key_sql_store: LifespanContribution = lifespan(  # type: ignore[no-redef]
        band=LifespanBand.PERSISTENCE, name="api_key_sql_store", when=_leave_out, description=_REASON
    )(_start_nothing)
    api_key_migrations: ValueContribution = value(  # type: ignore[no-redef]
        _REASON, name="auth_api_keys_migrations", when=_leave_out, description=_REASON
    )

__all__ = ["api_key_migrations", "api_key_sql_store"]
