"""Schedules: those that are declared, and those that are added at run time, kept in Redis or in this process."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import structlog
from pydantic_core import to_jsonable_python
from redis.asyncio import Redis
from taskiq import ScheduledTask, ScheduleSource

from bandmaster.contrib.taskiq.schedules.cron import checked_cron, checked_timezone
from bandmaster.contrib.taskiq.schedules.declared_schedules import DeclaredSchedules, Schedule
from bandmaster.kernel import BandmasterError, TransientError

__all__ = ["DeclaredSchedules", "KeptSchedules", "MemorySchedules", "RedisSchedules", "Schedule"]

_REMOVE_SAME = """
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then return redis.call('HDEL', KEYS[1], ARGV[1]) end
return 0
"""


class KeptSchedules(ScheduleSource):
    """The part that sources share to which schedules can be added: what is kept is JSON, by the schedule's id."""

    def __init__(self) -> None:
        self._known: dict[str, ScheduledTask] = {}
        self._complaints: dict[str, str] = {}
        self._away = False

    async def get_schedules(self) -> list[ScheduledTask]:
        """All of them; while they can't be read, those that were there when they last could.

        TaskIQ's loop takes an error for the news that there are none. Entries that aren't schedules stay where they
        are, and are logged once each.
        """
        try:
            entries = await self._entries()
        except BandmasterError as error:
            if not self._away:
                log = _log().warning if isinstance(error, TransientError) else _log().error
                log(
                    "schedules can't be read; the last known ones stay in use", known=len(self._known), error=str(error)
                )
            self._away = True
        else:
            self._away = False
            self._known = self._read(entries)
        return [task.model_copy(deep=True) for task in self._known.values()]

    async def add_schedule(self, schedule: ScheduledTask) -> None:
        """Add one, in place of the one with the same id if there is one.

        Raises:
            ValueError: it could never be sent, or JSON can't express it.
            TransientError: Redis can't be asked.
        """
        if problem := _problem(schedule):
            raise ValueError(f"the schedule {schedule.schedule_id!r} of the task {schedule.task_name!r}: {problem}")
        try:
            # As its model_dump for JSON, which would make None of NaN.
            text = json.dumps(to_jsonable_python(schedule.model_dump()), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"the schedule {schedule.schedule_id!r} of the task {schedule.task_name!r} has arguments or labels that "
                f"JSON can't express: {error}"
            ) from error
        await self._put(schedule.schedule_id, text)
        self._known[schedule.schedule_id] = _parsed(text)

    async def delete_schedule(self, schedule_id: str) -> None:
        """Remove one; nothing happens if there is none.

        Raises:
            TransientError: Redis can't be asked.
        """
        await self._remove(schedule_id)
        self._known.pop(schedule_id, None)

    async def post_send(self, task: ScheduledTask) -> None:
        """Remove what fires once, unless it has been put to another time meanwhile.

        Raises:
            TransientError: Redis can't be asked.
        """
        if task.time is None:
            return
        text = await self._get(task.schedule_id)
        if text is not None:
            try:
                same = _parsed(text).time == task.time
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
        """Remove it, if it is this text where one is given; whether it was there."""

    def _read(self, entries: Mapping[str, str]) -> dict[str, ScheduledTask]:
        read: dict[str, ScheduledTask] = {}
        complaints: dict[str, str] = {}
        for schedule_id, text in entries.items():
            try:
                task = _parsed(text)
                problem = _problem(task)
                if task.schedule_id != schedule_id:
                    problem = f"it says that it is {task.schedule_id!r}"
            except (ValueError, RecursionError) as error:
                task, problem = None, str(error)
            if task is not None and not problem:
                read[schedule_id] = task
                continue
            complaints[schedule_id] = text
            if self._complaints.get(schedule_id) != text:
                _log().error("schedule can't be used, and is passed over", schedule=schedule_id, error=problem)
        self._complaints = complaints
        return read


class RedisSchedules(KeptSchedules):
    """Schedules in Redis, all in the hash ``<prefix>schedules``.

    The client is one of `bandmaster.contrib.redis`; whoever opened it closes it.
    """

    def __init__(self, client: Redis, prefix: str) -> None:
        super().__init__()
        self._client = client
        self._key = f"{prefix}schedules"

    async def _entries(self) -> Mapping[str, str]:
        entries = await self._client.hgetall(self._key)
        return {_text(schedule_id): _text(text) for schedule_id, text in entries.items()}

    async def _get(self, schedule_id: str) -> str | None:
        text = await self._client.hget(self._key, schedule_id)
        return None if text is None else _text(text)

    async def _put(self, schedule_id: str, text: str) -> None:
        await self._client.hset(self._key, schedule_id, text)

    async def _remove(self, schedule_id: str, text: str | None = None) -> bool:
        if text is None:
            return bool(await self._client.hdel(self._key, schedule_id))
        return bool(await self._client.eval(_REMOVE_SAME, 1, self._key, schedule_id, text))


class MemorySchedules(KeptSchedules):
    """Schedules in this process, by way of the same JSON: what works here works with Redis."""

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


def _problem(task: ScheduledTask) -> str:
    """Why TaskIQ's loop couldn't send it, would complain each second, or would end by it."""
    if sum(when is not None for when in (task.cron, task.interval, task.time)) != 1:
        return "expected one of cron, interval and time"
    try:
        if task.cron is not None:
            checked_cron(task.cron)
        if isinstance(task.cron_offset, str) and task.cron_offset:
            checked_timezone(task.cron_offset)
    except ValueError as error:
        return str(error)
    return ""


def _parsed(text: str) -> ScheduledTask:
    return ScheduledTask.model_validate(json.loads(text))


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")


def _log() -> Any:
    return structlog.get_logger("bandmaster.taskiq")
