"""The database of a migration test."""

import pytest
import sqlalchemy as sa


@pytest.fixture
def database(request, tmp_path):
    """The URL of an empty database for the driver of the test; psycopg by default."""
    drivername = getattr(request, "param", "postgresql+psycopg")
    if drivername.startswith("sqlite"):
        return f"{drivername}:///{tmp_path / 'test.sqlite3'}"
    owner = request.getfixturevalue("postgres_database").owner_url()
    return sa.make_url(owner).set(drivername=drivername).render_as_string(hide_password=False)
