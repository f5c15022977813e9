"""Result backends that store results and progress of tasks as JSON: in Redis, or in this process's memory."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis
from taskiq import AsyncResultBackend, TaskiqResult
from taskiq.depends.progress_tracker import TaskProgress

from bandmaster.contrib.taskiq.errors import ResultMissingError
from bandmaster.contrib.taskiq.results.result_codec import (
    decode_progress,
    decode_result,
    encode_progress,
    encode_result,
)


class JSONResults(AsyncResultBackend[Any]):
    """The base of both backends: encodes and decodes; a subclass stores the text."""

    def __init__(self, ttl: float, *, keep: bool = True) -> None:
        self._keep = keep
        if not (ttl > 0 and math.isfinite(ttl)):
            raise ValueError(f"ttl: expected seconds above 0, got {ttl}")
        self._ttl = ttl

    async def set_result(self, task_id: str, result: TaskiqResult[Any]) -> None:
        """Store a result for ``ttl`` seconds, unless the backend was made with ``keep=False``.

        Raises:
            PermanentError: JSON can't express the returned value.
            TransientError: Redis can't be reached.
        """
        if self._keep:
            await self._put("result", task_id, encode_result(task_id, result))

    async def is_result_ready(self, task_id: str) -> bool:
        """Whether a result is stored.

        Raises:
            TransientError: Redis can't be reached.
        """
        return await self._has("result", task_id)

    async def get_result(self, task_id: str, with_logs: bool = False) -> TaskiqResult[Any]:
        """The stored result. Its error is a `TaskFailed` if the original error can't be made here.

        Raises:
            ResultMissingError: no result is stored, or the result has expired.
            PermanentError: the stored text isn't a result.
            TransientError: Redis can't be reached.
        """
        text = await self._get("result", task_id)
        if text is None:
            raise ResultMissingError(
                f"there is no result of the task {task_id!r}: it isn't done yet, stores no result, or was done more "
                f"than {self._ttl:g} s ago"
            )
        result = decode_result(task_id, text)
        if not with_logs:
            result.log = None
        return result

    async def set_progress(self, task_id: str, progress: TaskProgress[Any]) -> None:
        """Store a task's progress for ``ttl`` seconds.

        Raises:
            PermanentError: JSON can't express ``meta``.
            TransientError: Redis can't be reached.
        """
        await self._put("progress", task_id, encode_progress(task_id, progress))

    async def get_progress(self, task_id: str) -> TaskProgress[Any] | None:
        """The progress that a task reported last.

        Raises:
            PermanentError: the stored text isn't progress.
            TransientError: Redis can't be reached.
        """
        text = await self._get("progress", task_id)
        return None if text is None else decode_progress(task_id, text)

    @abstractmethod
    async def _put(self, kind: str, task_id: str, text: str) -> None: ...

    @abstractmethod
    async def _get(self, kind: str, task_id: str) -> str | bytes | None: ...

    @abstractmethod
    async def _has(self, kind: str, task_id: str) -> bool: ...


class RedisResults(JSONResults):
    """Results in Redis, at ``<prefix>result:<task id>`` and ``<prefix>progress:<task id>``.

    The client is one of `bandmaster.contrib.redis`; the code that opened the client closes it. Keys expire ``ttl``
    seconds after they were written. With ``keep=False`` only progress is stored.

    Raises:
        ValueError: ``ttl`` isn't above 0.
    """

    def __init__(self, client: Redis, prefix: str, ttl: float, *, keep: bool = True) -> None:
        super().__init__(ttl, keep=keep)
        self._client = client
        self._prefix = prefix
        self._milliseconds = max(1, round(ttl * 1000))

    async def _put(self, kind: str, task_id: str, text: str) -> None:
        await self._client.set(self._make_key(kind, task_id), text, px=self._milliseconds)

    async def _get(self, kind: str, task_id: str) -> str | bytes | None:
        return await self._client.get(self._make_key(kind, task_id))

    async def _has(self, kind: str, task_id: str) -> bool:
        return bool(await self._client.exists(self._make_key(kind, task_id)))

    def _make_key(self, kind: str, task_id: str) -> str:
        return f"{self._prefix}{kind}:{task_id}"


class MemoryResults(JSONResults):
    """Results in this process's memory, encoded as for Redis, so that the same values work.

    At most ``most`` results and as many progresses are stored; the oldest are removed first. ``clock`` returns seconds
    that only increase.

    Raises:
        ValueError: ``ttl`` isn't above 0.
    """

    def __init__(
        self,
        ttl: float = 3600,
        *,
        keep: bool = True,
        most: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(ttl, keep=keep)
        self._most = most
        self._clock = clock
        # Each in the order of expiry.
        self._stored: dict[str, OrderedDict[str, tuple[float, str]]] = {
            "result": OrderedDict(),
            "progress": OrderedDict(),
        }

    async def _put(self, kind: str, task_id: str, text: str) -> None:
        stored, now = self._stored[kind], self._clock()
        stored.pop(task_id, None)
        while stored and (len(stored) >= self._most or next(iter(stored.values()))[0] <= now):
            stored.popitem(last=False)
        stored[task_id] = now + self._ttl, text

    async def _get(self, kind: str, task_id: str) -> str | None:
        expires, text = self._stored[kind].get(task_id, (0.0, None))
        return text if text is not None and expires > self._clock() else None

    async def _has(self, kind: str, task_id: str) -> bool:
        return await self._get(kind, task_id) is not None
