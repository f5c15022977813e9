"""Databases that start, isolate tenants, migrate and stop: SQLAlchemy, PostgreSQL row-level security, Alembic."""
