"""Isolation of tenants: a tenant for each transaction, row-level security in PostgreSQL, an audit of both."""
