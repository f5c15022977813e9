"""The table of API keys, and the migrations that make the table."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Column, DateTime, Index, MetaData, String, Table, Text

from bandmaster.contrib.oidc.api_keys.api_key import MAX_NAME, MAX_OWNER
from bandmaster.contrib.oidc.api_keys.key_text import ID_LENGTH
from bandmaster.contrib.oidc.api_keys.settings import ApiKeySettings
from bandmaster.contrib.persistence import migrations

# Of this table alone, so that autogenerate of other parts doesn't see it.
metadata = MetaData()

# The table has no tenant column: a key is looked up before anybody knows whose request it is.
api_key_table = Table(
    "auth_api_keys",
    metadata,
    Column("id", String(ID_LENGTH), primary_key=True),
    Column("owner", String(MAX_OWNER), nullable=False),
    Column("name", String(MAX_NAME), nullable=False),
    # Separated by blanks, as in RFC 6749, 3.3.
    Column("scopes", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("hashed_with", String(64), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    Column("replaced_by", String(ID_LENGTH)),
    Column("last_used_at", DateTime(timezone=True)),
    Index("ix_auth_api_keys_owner", "owner"),
    Index("ix_auth_api_keys_hashed_with", "hashed_with"),
)


def is_in_database(settings: ApiKeySettings) -> bool:
    """Whether API keys are kept in the database, whether or not this process has peppers."""
    return settings.store == "sql"


api_key_migrations = replace(
    migrations("auth_api_keys", "bandmaster.contrib.oidc.api_keys:migrations", metadata=metadata), when=is_in_database
)
