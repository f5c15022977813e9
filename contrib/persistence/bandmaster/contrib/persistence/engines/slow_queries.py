"""A log event for each slow statement."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection, Engine, event

from bandmaster.contrib.persistence.log import log

_SHOWN = 2000
"""Characters of a statement; parameters aren't part of the text."""


def log_slow_queries(engine: Engine, seconds: float, database: str) -> None:
    """Log every statement of an engine that takes ``seconds`` or longer, without parameters."""

    def before(connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if context is not None:
            context.bandmaster_began = time.perf_counter()

    def after(connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        began = getattr(context, "bandmaster_began", None)
        if began is not None and (took := time.perf_counter() - began) >= seconds:
            log().warning(
                "slow query",
                database=database,
                seconds=round(took, 3),
                statement=" ".join(statement.split())[:_SHOWN],
                rows=cursor.rowcount,
            )

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)
