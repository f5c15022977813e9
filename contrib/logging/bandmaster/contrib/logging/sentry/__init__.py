"""Errors as events for Sentry, or any server that takes its DSN: one event for each error, without secrets."""
