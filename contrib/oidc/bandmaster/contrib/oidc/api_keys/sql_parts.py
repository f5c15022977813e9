"""The parts that need bandmaster-persistence, for entry points; without that package they are left out of the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.contrib.oidc.extras import has_extra
from bandmaster.kernel import leave_out_component, leave_out_value

# An entry point is loaded in every installation, with the extra [sql] or without it.
if TYPE_CHECKING or has_extra("sql"):
    from bandmaster.contrib.oidc.api_keys.sql_component import api_key_sql_store
    from bandmaster.contrib.oidc.api_keys.tables import api_key_migrations
else:
    api_key_sql_store = leave_out_component("api_key_sql_store", "sql")
    api_key_migrations = leave_out_value("auth_api_keys_migrations", "sql")

__all__ = ["api_key_migrations", "api_key_sql_store"]
