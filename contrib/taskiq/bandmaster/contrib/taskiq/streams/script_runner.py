"""Runs scripts on a queue's keys in Redis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from bandmaster.contrib.taskiq.streams.keys import Keys
from bandmaster.contrib.taskiq.streams.lua import Script


@dataclass(frozen=True, slots=True)
class ScriptRunner:
    """A client, with the keys of a queue and the consumer that the scripts run for."""

    client: Redis
    keys: Keys
    group: str
    consumer: str

    async def run(self, script: Script, *arguments: bytes | str | float, more_keys: Sequence[str] = ()) -> Any:
        """Run a script and return its answer.

        Raises:
            TransientError: another try may succeed.
            PermanentError: the server refuses.
        """
        keys = (*self.keys, *more_keys)
        rest = (len(keys), *keys, self.group, self.consumer, *arguments)
        try:
            return await execute(self.client, "EVALSHA", script.sha, *rest)
        except NoScriptError:
            # A server that was restarted, or that replaced another, has no scripts.
            return await execute(self.client, "EVAL", script.text, *rest)

    async def make_group(self) -> None:
        """Create a missing consumer group, which begins with the first message, so that none is missed."""
        try:
            await execute(self.client, "XGROUP", "CREATE", self.keys.stream, self.group, "0", "MKSTREAM")
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise


async def execute(client: Redis, *command: bytes | str | float) -> Any:
    """Execute a command and return its answer."""
    try:
        return await client.execute_command(*command)  # type: ignore[no-untyped-call]
    except ReadOnlyError:
        # The master has become a replica. By a new connection its name may lead to the new master.
        await client.connection_pool.disconnect(inuse_connections=False)
        raise


def lacks_group(error: BaseException) -> bool:
    """Whether an error means that the consumer group is missing: the server was emptied, or has lost its data."""
    return "NOGROUP" in str(error)
