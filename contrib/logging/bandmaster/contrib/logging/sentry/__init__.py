"""Errors as events for Sentry, or any server that takes a DSN: one event for each error, without secrets."""
