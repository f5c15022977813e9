"""Schedules that are added at run time, stored in Redis or in this process's memory."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping

from pydantic_core import to_jsonable_python
from redis.asyncio import Redis
from taskiq import ScheduledTask, ScheduleSource

from bandmaster.contrib.taskiq.logger import get_logger
from bandmaster.contrib.taskiq.schedules.cron import check_cron, check_timezone
from bandmaster.kernel import BandmasterError, TransientError

_REMOVE_SAME = """
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then return redis.call('HDEL', KEYS[1], ARGV[1]) end
return 0
"""


class StoredSchedules(ScheduleSource):
    """The base of both sources: encodes schedules as JSON, by id; a subclass stores the text."""

    def __init__(self) -> None:
        self._known: dict[str, ScheduledTask] = {}
        self._complaints: dict[str, str] = {}
        self._failing = False

    async def get_schedules(self) -> list[ScheduledTask]:
        """All stored schedules; while they can't be read, those of the last read.

        No error is raised, since TaskIQ's loop would then forget all schedules. Entries that aren't schedules stay
        stored and are logged once each.
        """
        try:
            entries = await self._entries()
        except BandmasterError as error:
            if not self._failing:
                log = get_logger()
                (log.warning if isinstance(error, TransientError) else log.error)(
                    "schedules can't be read; the last known ones stay in use", known=len(self._known), error=str(error)
                )
            self._failing = True
        else:
            self._failing = False
            self._known = self._parse_all(entries)
        return [task.model_copy(deep=True) for task in self._known.values()]

    async def add_schedule(self, schedule: ScheduledTask) -> None:
        """Add a schedule, or replace the schedule of the same id.

        Raises:
            ValueError: the schedule could never be sent, or JSON can't express it.
            TransientError: Redis can't be reached.
        """
        if problem := _find_problem(schedule):
            raise ValueError(f"the schedule {schedule.schedule_id!r} of the task {schedule.task_name!r}: {problem}")
        try:
            # As its model_dump for JSON, except that model_dump turns NaN into None.
            text = json.dumps(to_jsonable_python(schedule.model_dump()), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"the schedule {schedule.schedule_id!r} of the task {schedule.task_name!r} has arguments or labels "
                f"that JSON can't express: {error}"
            ) from error
        await self._put(schedule.schedule_id, text)
        self._known[schedule.schedule_id] = _parse(text)

    async def delete_schedule(self, schedule_id: str) -> None:
        """Remove a stored schedule. An unknown id is ignored.

        Raises:
            TransientError: Redis can't be reached.
        """
        await self._remove(schedule_id)
        self._known.pop(schedule_id, None)

    async def post_send(self, task: ScheduledTask) -> None:
        """Remove a schedule that fires once, unless its time was changed meanwhile.

        Raises:
            TransientError: Redis can't be reached.
        """
        if task.time is None:
            return
        text = await self._get(task.schedule_id)
        if text is not None:
            try:
                same = _parse(text).time == task.time
            except ValueError:
                same = False
            if not same or not await self._remove(task.schedule_id, text):
                return
        self._known.pop(task.schedule_id, None)

    @abstractmethod
    async def _entries(self) -> Mapping[str, str]: ...

    @abstractmethod
    async def _get(self, schedule_id: str) -> str | None: ...

    @abstractmethod
    async def _put(self, schedule_id: str, text: str) -> None: ...

    @abstractmethod
    async def _remove(self, schedule_id: str, text: str | None = None) -> bool:
        """Remove an entry, if no text is given or the entry holds this text. Returns whether an entry was removed."""

    def _parse_all(self, entries: Mapping[str, str]) -> dict[str, ScheduledTask]:
        read: dict[str, ScheduledTask] = {}
        complaints: dict[str, str] = {}
        for schedule_id, text in entries.items():
            try:
                task = _parse(text)
                problem = _find_problem(task)
                if task.schedule_id != schedule_id:
                    problem = f"the entry contains the id {task.schedule_id!r}"
            except (ValueError, RecursionError) as error:
                task, problem = None, str(error)
            if task is not None and not problem:
                read[schedule_id] = task
                continue
            complaints[schedule_id] = text
            if self._complaints.get(schedule_id) != text:
                get_logger().error("schedule can't be used, and is ignored", schedule=schedule_id, error=problem)
        self._complaints = complaints
        return read


class RedisSchedules(StoredSchedules):
    """Schedules in Redis, in the hash ``<prefix>schedules``.

    The client is one of `bandmaster.contrib.redis`; the code that opened the client closes it.
    """

    def __init__(self, client: Redis, prefix: str) -> None:
        super().__init__()
        self._client = client
        self._key = f"{prefix}schedules"

    async def _entries(self) -> Mapping[str, str]:
        entries = await self._client.hgetall(self._key)
        return {_decode(schedule_id): _decode(text) for schedule_id, text in entries.items()}

    async def _get(self, schedule_id: str) -> str | None:
        text = await self._client.hget(self._key, schedule_id)
        return None if text is None else _decode(text)

    async def _put(self, schedule_id: str, text: str) -> None:
        await self._client.hset(self._key, schedule_id, text)

    async def _remove(self, schedule_id: str, text: str | None = None) -> bool:
        if text is None:
            return bool(await self._client.hdel(self._key, schedule_id))
        return bool(await self._client.eval(_REMOVE_SAME, 1, self._key, schedule_id, text))


class MemorySchedules(StoredSchedules):
    """Schedules in this process's memory, encoded as for Redis, so that the same values work."""

    def __init__(self) -> None:
        super().__init__()
        self._texts: dict[str, str] = {}

    async def _entries(self) -> Mapping[str, str]:
        return self._texts

    async def _get(self, schedule_id: str) -> str | None:
        return self._texts.get(schedule_id)

    async def _put(self, schedule_id: str, text: str) -> None:
        self._texts[schedule_id] = text

    async def _remove(self, schedule_id: str, text: str | None = None) -> bool:
        if text is not None and self._texts.get(schedule_id) != text:
            return False
        return self._texts.pop(schedule_id, None) is not None


def _find_problem(task: ScheduledTask) -> str:
    """Why TaskIQ's loop could never send the schedule, would log an error each second, or would end; else empty."""
    if sum(when is not None for when in (task.cron, task.interval, task.time)) != 1:
        return "expected one of cron, interval and time"
    try:
        if task.cron is not None:
            check_cron(task.cron)
        if isinstance(task.cron_offset, str) and task.cron_offset:
            check_timezone(task.cron_offset)
    except ValueError as error:
        return str(error)
    return ""


def _parse(text: str) -> ScheduledTask:
    return ScheduledTask.model_validate(json.loads(text))


def _decode(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")
