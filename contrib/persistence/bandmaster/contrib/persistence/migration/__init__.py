"""Alembic migrations of all installed parts: branches, upgrades, new revisions, the lock, ``bandmaster db``."""
