"""A queue on a server, as one consumer sees it: where scripts are run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from bandmaster.contrib.taskiq.streams.keys import Keys
from bandmaster.contrib.taskiq.streams.message_scripts import Script


@dataclass(frozen=True, slots=True)
class Link:
    """A client, and whom it speaks for."""

    client: Redis
    keys: Keys
    group: str
    consumer: str

    async def run(self, script: Script, *arguments: bytes | str | float, also: Sequence[str] = ()) -> Any:
        """What a script answers; ``also`` are further keys.

        Raises:
            TransientError: another try may help.
            PermanentError: the server refuses.
        """
        keys = (*self.keys, *also)
        rest = (len(keys), *keys, self.group, self.consumer, *arguments)
        try:
            return await execute(self.client, "EVALSHA", script.sha, *rest)
        except NoScriptError:
            # A server that was started anew, or that has taken another's place, has no scripts.
            return await execute(self.client, "EVAL", script.text, *rest)

    async def make_group(self) -> None:
        """Let there be the group; it begins with the first message, so that none sent before it is missed."""
        try:
            await execute(self.client, "XGROUP", "CREATE", self.keys.stream, self.group, "0", "MKSTREAM")
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise


async def execute(client: Redis, *command: bytes | str | float) -> Any:
    """What a command answers."""
    try:
        return await client.execute_command(*command)  # type: ignore[no-untyped-call]
    except ReadOnlyError:
        # The master has become a replica. By a new connection its name may lead to the one that is master now.
        await client.connection_pool.disconnect(inuse_connections=False)
        raise


def lacks_group(error: BaseException) -> bool:
    """Whether it says that there is no group: somebody has emptied the server, or it has lost what it had."""
    return "NOGROUP" in str(error)
