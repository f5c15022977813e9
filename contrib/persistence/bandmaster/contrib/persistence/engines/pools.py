"""Connection pools that raise `PoolTimeoutError` when no connection becomes free in time."""

from __future__ import annotations

from sqlalchemy import AsyncAdaptedQueuePool, QueuePool, exc
from sqlalchemy.pool import ConnectionPoolEntry

from bandmaster.contrib.persistence.errors import PoolTimeoutError


class _TimeoutTranslation(QueuePool):
    def _do_get(self) -> ConnectionPoolEntry:
        try:
            return super()._do_get()
        except exc.TimeoutError as error:
            raise PoolTimeoutError(
                f"all {self.checkedout()} connections of the pool are in use, and none came back within "
                f"{self.timeout():g} s: raise pool_size or max_overflow in its settings, or hold sessions for less long"
            ) from error


class AsyncPool(_TimeoutTranslation, AsyncAdaptedQueuePool):
    """The pool of an asynchronous engine."""

    # SQLAlchemy names a pool's logger after its module. Users set levels for the loggers below "sqlalchemy.pool".
    __module__ = AsyncAdaptedQueuePool.__module__


class SyncPool(_TimeoutTranslation):
    """The pool of a synchronous engine."""

    __module__ = QueuePool.__module__
