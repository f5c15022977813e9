"""Observers of engines, such as tracing, which add listeners of their own to every engine of the application."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sqlalchemy import Engine

from bandmaster.contrib.persistence.log import log


class EngineObserver(Protocol):
    """Is given every engine on which the application's statements run. A component provides one.

    ```python
    class Counting:
        def observe_engine(self, engine: Engine, database: str) -> None:
            event.listen(engine, "after_cursor_execute", self.count)


    @lifespan(band=LifespanBand.OBSERVABILITY)
    async def counting() -> AsyncIterator[EngineObserver]:
        yield Counting()
    ```

    Engines of asynchronous code have synchronous ones, to which SQLAlchemy's events belong. The engine of health checks
    isn't given. Statements that aren't the application's own have the execution option ``bandmaster_internal``: those
    at the begin of a transaction, and questions to an outbox that may be empty.
    """

    def observe_engine(self, engine: Engine, database: str) -> None:
        """Add listeners to an engine that was built. Any thread may call this; exceptions are logged."""
        ...


def show_engine(observers: Sequence[EngineObserver], engine: Engine, database: str) -> None:
    """Give an engine to all observers. Never raises."""
    for observer in observers:
        try:
            observer.observe_engine(engine, database)
        except Exception as error:  # noqa: BLE001  # an observer raises errors of any type, and the engine still works
            log().error(
                "an observer of engines failed",
                database=database,
                observer=type(observer).__qualname__,
                error=type(error).__name__,
                exception=error,
            )
