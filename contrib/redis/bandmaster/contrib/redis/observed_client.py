"""A Redis client, and its pipelines, that report their commands to observers."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.connection import ConnectionPool

from bandmaster.contrib.redis.command_observers import (
    ClientPlace,
    CommandObserver,
    RedisCommand,
    begin_command,
    end_command,
)

_LONGEST_NAME = 40
_NAME = re.compile(r"[A-Z][A-Z0-9._-]*")
_CONTAINERS = frozenset(
    {
        "ACL",
        "CLIENT",
        "CLUSTER",
        "COMMAND",
        "CONFIG",
        "FUNCTION",
        "LATENCY",
        "MEMORY",
        "MODULE",
        "OBJECT",
        "PUBSUB",
        "SCRIPT",
        "SLOWLOG",
        "XGROUP",
        "XINFO",
    }
)
"""Commands whose second word is a part of the name."""


class Observation:
    """Reports the commands of one client."""

    __slots__ = ("_observers", "_place")

    def __init__(self, place: ClientPlace, observers: Sequence[CommandObserver]) -> None:
        self._place = place
        self._observers = tuple(observers)

    async def report(self, name: str, names: tuple[str, ...], call: Awaitable[Any]) -> Any:
        """Await a call, and report its begin and its end."""
        ends = begin_command(self._observers, RedisCommand(self._place, name, names))
        try:
            answer = await call
        except BaseException as error:
            end_command(ends, error)
            raise
        end_command(ends, None)
        return answer


def make_client(pool: ConnectionPool, observation: Observation | None) -> Redis:
    """A client on a pool: redis-py's own class without an observation."""
    if observation is None:
        return Redis(connection_pool=pool)
    client = ObservedRedis(connection_pool=pool)
    client.observation = observation
    return client


class ObservedRedis(Redis):
    """redis-py's client, which reports each command."""

    observation: Observation

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Like redis-py's method."""
        name = read_name(args[0])
        call = super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        return await self.observation.report(name, (name,), call)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """Like redis-py's method."""
        pipeline = ObservedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipeline.observation = self.observation
        return pipeline

    def client(self) -> Redis:
        """Like redis-py's method."""
        client = super().client()
        assert isinstance(client, ObservedRedis)
        client.observation = self.observation
        return client


class ObservedPipeline(Pipeline):
    """redis-py's pipeline, which reports all its commands as one, and those under ``WATCH`` by themselves."""

    observation: Observation

    async def immediate_execute_command(self, *args: Any, **options: Any) -> Any:
        """Like redis-py's method."""
        name = read_name(args[0])
        call = super().immediate_execute_command(*args, **options)  # type: ignore[no-untyped-call]
        return await self.observation.report(name, (name,), call)

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Like redis-py's method."""
        names = tuple(read_name(args[0]) for args, _ in self.command_stack)
        if not names:
            return await super().execute(raise_on_error)
        kind = "MULTI" if self.is_transaction or self.explicit_transaction else "PIPELINE"
        answers: list[Any] = await self.observation.report(kind, names, super().execute(raise_on_error))
        return answers


def read_name(command: Any) -> str:
    """The name of a command in capitals.

    redis-py accepts a whole command as one text, of which keys and values are left out.

    >>> read_name("get"), read_name(b"config get"), read_name("set key value"), read_name("")
    ('GET', 'CONFIG GET', 'SET', 'OTHER')
    """
    text = command.decode("ascii", "replace") if isinstance(command, bytes) else str(command)
    words = text[:_LONGEST_NAME].upper().split()
    if not words or not _NAME.fullmatch(words[0]):
        return "OTHER"
    has_second = words[0] in _CONTAINERS and len(words) > 1 and _NAME.fullmatch(words[1])
    return " ".join(words[: 2 if has_second else 1])
