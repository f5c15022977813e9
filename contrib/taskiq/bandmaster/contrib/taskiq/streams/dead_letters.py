"""The dead letters of a leased stream, in a Redis stream of their own."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from redis.asyncio import Redis

from bandmaster.contrib.taskiq.dead_letters.dead_letter import DeadLetter, Holding, Reason, reset_attempts
from bandmaster.contrib.taskiq.streams.options import LeasedStreamOptions
from bandmaster.contrib.taskiq.streams.queue_scripts import PURGE, REPLAY
from bandmaster.contrib.taskiq.streams.script_runner import ScriptRunner, execute

_PAGE = 100
_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")


class StreamDeadLetters:
    """The `DeadLetters` of a `LeasedStreamBroker`'s queue. Needs a client, but no broker."""

    def __init__(self, client: Redis, options: LeasedStreamOptions) -> None:
        self._runner = ScriptRunner(client, options.keys, options.group, "")
        self._key = options.keys.dead

    async def count(self) -> int:
        """See `DeadLetters.count`."""
        return int(await self._run("XLEN", self._key))

    async def page(self, *, after: str | None = None, limit: int = _PAGE) -> list[DeadLetter]:
        """See `DeadLetters.page`.

        Raises:
            ValueError: ``after`` isn't a dead letter's id, or ``limit`` is less than 1.
        """
        if limit < 1:
            raise ValueError(f"limit: must be at least 1, not {limit}")
        if after is not None and not _ID.fullmatch(after):
            raise ValueError(f"after: {after!r} isn't the id of a dead letter; ids look like 1700000000000-0")
        first = "-" if after is None else f"({after}"
        return await self._range(first, "+", limit)

    async def get(self, id: str) -> DeadLetter | None:  # noqa: A002  # as `DeadLetters` has it
        """See `DeadLetters.get`."""
        if not _ID.fullmatch(id):
            return None
        return next(iter(await self._range(id, id, 1)), None)

    async def add(self, letter: DeadLetter) -> str:
        """See `DeadLetters.add`."""
        history = [[one.consumer, str(_to_milliseconds(one.until))] for one in letter.history]
        fields: dict[str, bytes | str | int] = {
            "data": letter.data,
            "task": letter.task,
            "task_id": letter.task_id,
            "reason": letter.reason.value,
            "detail": letter.detail,
            "deliveries": letter.deliveries,
            "died": _to_milliseconds(letter.died_at),
            "history": json.dumps(history),
        }
        added = await self._run("XADD", self._key, "*", *(part for field in fields.items() for part in field))
        return str(added, "ascii")

    async def replay(self, ids: Iterable[str] | None = None) -> list[str]:
        """See `DeadLetters.replay`. Without ``ids`` the letters that exist now are sent, not later ones."""
        sent: list[str] = []
        async with aclosing(self._pages(ids)) as pages:
            async for page in pages:
                arguments = (part for letter in page for part in (letter.id, reset_attempts(letter.data)))
                sent += [str(one, "ascii") for one in await self._runner.run(REPLAY, *arguments)]
        return sent

    async def purge(self, ids: Iterable[str] | None = None, *, before: datetime | None = None) -> int:
        """See `DeadLetters.purge`."""
        if ids is None and before is None:
            return int(await self._runner.run(PURGE))
        gone = 0
        async with aclosing(self._pages(ids)) as pages:
            async for page in pages:
                if old := [letter.id for letter in page if before is None or letter.died_at < before]:
                    gone += int(await self._run("XDEL", self._key, *old))
        return gone

    async def _pages(self, ids: Iterable[str] | None) -> AsyncGenerator[list[DeadLetter], None]:
        if ids is not None:
            known = [one for one in dict.fromkeys(ids) if _ID.fullmatch(one)]
            for start in range(0, len(known), _PAGE):
                async with self._runner.client.pipeline(transaction=False) as pipe:
                    for one in known[start : start + _PAGE]:
                        pipe.execute_command("XRANGE", self._key, one, one)
                    if page := [_parse_letter(*entry) for found in await pipe.execute() for entry in found]:
                        yield page
            return
        # Up to the newest letter of now. A letter that is replayed and dies again would otherwise be replayed for ever.
        newest = await self._run("XREVRANGE", self._key, "+", "-", "COUNT", 1)
        last = str(newest[0][0], "ascii") if newest else None
        first = "-"
        while last and (page := await self._range(first, last, _PAGE)):
            yield page
            first = f"({page[-1].id}"
            if page[-1].id == last:
                return

    async def _range(self, first: str, last: str, limit: int) -> list[DeadLetter]:
        return [_parse_letter(*entry) for entry in await self._run("XRANGE", self._key, first, last, "COUNT", limit)]

    async def _run(self, *command: bytes | str | float) -> Any:
        return await execute(self._runner.client, *command)


def _parse_letter(entry: bytes, fields: Sequence[tuple[bytes, bytes]] | dict[bytes, bytes] | None) -> DeadLetter:
    about = dict(fields or ())
    reason = about.get(b"reason", b"").decode()
    return DeadLetter(
        id=entry.decode(),
        task=about.get(b"task", b"").decode(errors="replace"),
        task_id=about.get(b"task_id", b"").decode(errors="replace"),
        reason=Reason(reason) if reason in set(Reason) else Reason.UNREADABLE,
        detail=about.get(b"detail", b"").decode(errors="replace"),
        deliveries=int(about.get(b"deliveries", 0)),
        died_at=_parse_time(about.get(b"died") or entry.partition(b"-")[0]),
        data=about.get(b"data", b""),
        history=tuple(
            Holding(name, _parse_time(until)) for name, until in json.loads(about.get(b"history") or "[]") or ()
        ),
    )


def _parse_time(milliseconds: bytes | str) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def _to_milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1000)
