"""The branch of migrations makes exactly the table of the code, beside the branches of other parts."""

import pytest
import sqlalchemy as sa
from tests.contrib.persistence.migration.parts import shop

from bandmaster.contrib.oidc.api_keys.sql_parts import api_key_migrations
from bandmaster.contrib.oidc.api_keys.tables import api_key_table
from bandmaster.contrib.persistence.migration import migrate, state

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    """Migrations run on asyncio."""
    return "asyncio"


@pytest.mark.parametrize("database_url", ["sqlite", "psycopg"], indirect=True)
async def test_the_table_is_what_the_code_says(database_url, tmp_path) -> None:
    """Upgraded, the database has no difference from the code; downgraded, nothing is left."""
    parts = (api_key_migrations.value, shop(tmp_path))
    url = sa.make_url(database_url)
    applied = await migrate.upgrade(url, parts)
    assert 1 == sum(one.part == "auth_api_keys" for one in applied)
    assert () == await state.differences(url, parts)
    undone = await migrate.downgrade(url, parts, "auth_api_keys@base")
    assert ["auth_api_keys"] == [one.part for one in undone]
    found = await state.differences(url, parts)
    assert api_key_table.name in str(found)
