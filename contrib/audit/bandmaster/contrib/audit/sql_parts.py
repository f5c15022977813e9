"""The parts that need bandmaster-persistence, for entry points; without that package they are left out of the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.contrib.audit.extras import has_extra
from bandmaster.kernel import leave_out_component, leave_out_value

# An entry point is loaded in every installation, with the extra [sql] or without it.
if TYPE_CHECKING or has_extra("sql"):
    from bandmaster.contrib.audit.sql_component import audit_sql_store
    from bandmaster.contrib.audit.stores.tables import audit_migrations
else:
    audit_sql_store = leave_out_component("audit_sql_store", "sql")
    audit_migrations = leave_out_value("audit_migrations", "sql")

__all__ = ["audit_migrations", "audit_sql_store"]
