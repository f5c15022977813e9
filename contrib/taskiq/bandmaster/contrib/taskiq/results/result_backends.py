"""What tasks returned and how far they are, kept as JSON for a while: in Redis, or in this process."""

from __future__ import annotations

import json
import math
import time
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_jsonable_python
from redis.asyncio import Redis
from taskiq import AsyncResultBackend, TaskiqResult
from taskiq.depends.progress_tracker import TaskProgress, TaskState

from bandmaster.contrib.taskiq.results.error_codec import describe_error, make_error
from bandmaster.kernel import PermanentError

_STATES = {state.value: state for state in TaskState}
_HINT = (
    "return text, numbers, booleans, None, lists, dicts, dataclasses or pydantic models, or keep the value elsewhere "
    "and return where it is"
)


class ResultMissingError(PermanentError):
    """There is no result of a task: it isn't done yet, or the result's time is over."""


class JSONResults(AsyncResultBackend[Any]):
    """The part that all backends share: what is kept is text, and is read again without trust in it."""

    def __init__(self, ttl: float, *, keep: bool = True) -> None:
        self._keep = keep
        if not (ttl > 0 and math.isfinite(ttl)):
            raise ValueError(f"ttl: expected seconds above 0, got {ttl}")
        self._ttl = ttl

    async def set_result(self, task_id: str, result: TaskiqResult[Any]) -> None:
        """Keep a result, for ``ttl`` seconds; unless results aren't to be kept.

        Raises:
            PermanentError: JSON can't express what the task returned.
            TransientError: Redis can't be asked.
        """
        if self._keep:
            await self._put("result", task_id, _dump_result(task_id, result))

    async def is_result_ready(self, task_id: str) -> bool:
        """Whether there is a result. Raises as `get_result` for Redis."""
        return await self._has("result", task_id)

    async def get_result(self, task_id: str, with_logs: bool = False) -> TaskiqResult[Any]:
        """The result; the error in it is a `TaskFailed` where the original can't be made here.

        Raises:
            ResultMissingError: there is none, or none any more.
            PermanentError: what stands there is no result.
            TransientError: Redis can't be asked.
        """
        text = await self._get("result", task_id)
        if text is None:
            raise ResultMissingError(
                f"there is no result of the task {task_id!r}: it isn't done yet, was told to have none, or was done "
                f"more than {self._ttl:g} s ago"
            )
        result = _load_result(task_id, text)
        if not with_logs:
            result.log = None
        return result

    async def set_progress(self, task_id: str, progress: TaskProgress[Any]) -> None:
        """Keep how far a task is, for ``ttl`` seconds from now.

        Raises:
            PermanentError: JSON can't express ``meta``.
            TransientError: Redis can't be asked.
        """
        await self._put("progress", task_id, _dump_progress(task_id, progress))

    async def get_progress(self, task_id: str) -> TaskProgress[Any] | None:
        """How far a task was when it last said so.

        Raises:
            PermanentError: what stands there is no progress.
            TransientError: Redis can't be asked.
        """
        text = await self._get("progress", task_id)
        return None if text is None else _load_progress(task_id, text)

    @abstractmethod
    async def _put(self, kind: str, task_id: str, text: str) -> None: ...

    @abstractmethod
    async def _get(self, kind: str, task_id: str) -> str | bytes | None: ...

    @abstractmethod
    async def _has(self, kind: str, task_id: str) -> bool: ...


class RedisResults(JSONResults):
    """Results in Redis, at ``<prefix>result:<task id>`` and ``<prefix>progress:<task id>``.

    The client is one of `bandmaster.contrib.redis`; whoever opened it closes it. Keys expire ``ttl`` seconds after they
    were written. Without ``keep`` there is progress alone.

    Raises:
        ValueError: ``ttl`` isn't above 0.
    """

    def __init__(self, client: Redis, prefix: str, ttl: float, *, keep: bool = True) -> None:
        super().__init__(ttl, keep=keep)
        self._client = client
        self._prefix = prefix
        self._milliseconds = max(1, round(ttl * 1000))

    async def _put(self, kind: str, task_id: str, text: str) -> None:
        await self._client.set(self._key(kind, task_id), text, px=self._milliseconds)

    async def _get(self, kind: str, task_id: str) -> str | bytes | None:
        return await self._client.get(self._key(kind, task_id))

    async def _has(self, kind: str, task_id: str) -> bool:
        return bool(await self._client.exists(self._key(kind, task_id)))

    def _key(self, kind: str, task_id: str) -> str:
        return f"{self._prefix}{kind}:{task_id}"


class MemoryResults(JSONResults):
    """Results in this process, by way of the same JSON: what works here works with Redis.

    ``most`` results are kept, and as many progresses; the oldest go first. ``clock`` tells seconds that only increase.

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
        # Each in the order in which they expire.
        self._kept: dict[str, OrderedDict[str, tuple[float, str]]] = {
            "result": OrderedDict(),
            "progress": OrderedDict(),
        }

    async def _put(self, kind: str, task_id: str, text: str) -> None:
        kept, now = self._kept[kind], self._clock()
        kept.pop(task_id, None)
        while kept and (len(kept) >= self._most or next(iter(kept.values()))[0] <= now):
            kept.popitem(last=False)
        kept[task_id] = now + self._ttl, text

    async def _get(self, kind: str, task_id: str) -> str | None:
        expires, text = self._kept[kind].get(task_id, (0.0, None))
        return text if text is not None and expires > self._clock() else None

    async def _has(self, kind: str, task_id: str) -> bool:
        return await self._get(kind, task_id) is not None


def _dump_result(task_id: str, result: TaskiqResult[Any]) -> str:
    value = _jsonable(result.return_value, f"the task {task_id!r} returned a value")
    return json.dumps(
        {
            "is_err": result.is_err,
            "log": result.log,
            "return_value": value,
            "execution_time": result.execution_time,
            "labels": {name: _label(label) for name, label in result.labels.items()},
            "error": None if result.error is None else describe_error(result.error),
        }
    )


def _dump_progress(task_id: str, progress: TaskProgress[Any]) -> str:
    meta = _jsonable(progress.meta, f"the task {task_id!r} reported progress with a meta")
    return json.dumps({"state": str(getattr(progress.state, "value", progress.state)), "meta": meta})


def _jsonable(value: Any, what: str) -> Any:
    try:
        # As pydantic's model_dump, which would make None of NaN.
        made = to_jsonable_python(value)
        json.dumps(made, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise PermanentError(
            f"{what} of the type {_type_name(value)}, which JSON can't express ({error}); {_HINT}"
        ) from error
    return made


def _load_result(task_id: str, text: str | bytes) -> TaskiqResult[Any]:
    fields = _loaded("result", task_id, text)
    error = fields.pop("error", None)
    try:
        result = TaskiqResult[Any].model_validate(fields)
    except ValidationError as invalid:
        raise _unreadable("result", task_id, invalid) from invalid
    # Set here: TaskIQ would make it with fewer questions.
    result.error = None if error is None else make_error(error)
    return result


def _load_progress(task_id: str, text: str | bytes) -> TaskProgress[Any]:
    fields = _loaded("progress", task_id, text)
    try:
        progress = TaskProgress[Any].model_validate(fields)
    except ValidationError as invalid:
        raise _unreadable("progress", task_id, invalid) from invalid
    progress.state = _STATES.get(str(progress.state), progress.state)
    return progress


def _loaded(kind: str, task_id: str, text: str | bytes) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unreadable(kind, task_id, error) from error
    if not isinstance(fields, Mapping):
        raise _unreadable(kind, task_id, f"expected an object, got a {type(fields).__name__}")
    return dict(fields)


def _unreadable(kind: str, task_id: str, why: object) -> PermanentError:
    return PermanentError(
        f"the {kind} of the task {task_id!r} can't be read; another program may write under the same prefix: {why}"
    )


def _label(value: object) -> str | int | float | None:
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
