"""The branch of migrations makes exactly the tables of the code, beside the branches of other parts."""

import pytest
import sqlalchemy as sa
from tests.contrib.persistence.migration.parts import shop

from bandmaster.contrib.audit.sql_parts import audit_migrations
from bandmaster.contrib.persistence import DatabaseSettings
from bandmaster.contrib.persistence.migration import migrate, state

pytestmark = pytest.mark.anyio


async def test_the_tables_are_what_the_code_says(database_url, tmp_path) -> None:
    """Upgraded, the database has no difference from the code; downgraded, nothing is left, and it goes up again."""
    parts = (audit_migrations.value, shop(tmp_path))
    url = sa.make_url(DatabaseSettings(url=database_url).url)
    for _ in range(2):
        applied = await migrate.upgrade(url, parts)
        assert 1 == sum(one.part == "audit" for one in applied)
        assert () == await state.differences(url, parts)
        undone = await migrate.downgrade(url, parts, "audit@base")
        assert ["audit"] == [one.part for one in undone]
    found = str(await state.differences(url, parts))
    assert "audit_entries" in found
    assert "audit_personal" in found
