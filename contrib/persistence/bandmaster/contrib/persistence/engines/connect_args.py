"""Connect arguments of PostgreSQL's drivers. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sqlalchemy import URL

from bandmaster.contrib.persistence.settings import DatabaseSettings

_KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
"""Seconds, seconds and a count: a server that disappears without closing the connection is noticed within a minute."""


def connect_args(
    url: URL, *, application_name: str, connect_timeout: float, session: Mapping[str, str], pgbouncer: bool = False
) -> dict[str, Any]:
    """The arguments for the driver of ``url``; none for drivers other than asyncpg and psycopg.

    ``session`` holds PostgreSQL's settings for the session. ``connect_timeout`` is in seconds. ``pgbouncer`` turns
    prepared statements off.
    """
    driver = url.get_driver_name()
    if driver == "asyncpg":
        return {
            "timeout": connect_timeout,
            "server_settings": {"application_name": application_name, **session},
            **({"prepared_statement_cache_size": 0, "statement_cache_size": 0} if pgbouncer else {}),
        }
    if driver.startswith("psycopg"):
        # The last option wins, so the URL's own stand last.
        options = [*(f"-c {name}={value}" for name, value in session.items()), str(url.query.get("options", ""))]
        return {
            # libpq takes whole seconds, and treats 0 as no limit.
            "connect_timeout": math.ceil(connect_timeout),
            "application_name": application_name,
            **_KEEPALIVES,
            **({"options": text} if (text := " ".join(filter(None, options))) else {}),
            **({"prepare_threshold": None} if pgbouncer else {}),
        }
    return {}


def session_timeouts(settings: DatabaseSettings) -> dict[str, str]:
    """PostgreSQL's timeouts from the settings, in milliseconds; a timeout of 0 is left out."""
    seconds = {
        "statement_timeout": settings.statement_timeout,
        "idle_in_transaction_session_timeout": settings.idle_in_transaction_timeout,
        "lock_timeout": settings.lock_timeout,
    }
    return {name: str(max(1, round(value * 1000))) for name, value in seconds.items() if value}
