"""A connection of its own for reads that wait on the server, and the way to interrupt them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from bandmaster.contrib.taskiq.streams.script_runner import Link, execute, lacks_group
from bandmaster.kernel import BandmasterError

_INTERRUPT_SECONDS = 1.0
_INTERRUPT_PAUSE = 0.02


class Reader:
    """Reads new messages. It has its connection to itself, so that it can be told to the server which one it is."""

    def __init__(self, client: Redis, link: Link) -> None:
        self._pool = client.connection_pool
        self._link = link
        self._connection: Any = None
        self._number: int | None = None
        self._waiting = False

    async def read(self, count: int, seconds: float) -> Sequence[tuple[bytes, Sequence[bytes]]]:
        """Up to so many new messages, as soon as there are any, else none after that time.

        Raises:
            TransientError: another try may help.
            PermanentError: the server refuses.
        """
        link = self._link
        try:
            connection = self._connection or await self._connect()
            self._waiting = True
            await connection.send_command(
                *("XREADGROUP", "GROUP", link.group, link.consumer),
                *("COUNT", count, "BLOCK", max(1, round(seconds * 1000)), "STREAMS", link.keys.stream, ">"),
            )
            answer = await connection.read_response()
        except BaseException as error:
            # What answers would come from now on, if any, nobody could tell.
            if not lacks_group(error):
                await self.close()
            raise
        finally:
            self._waiting = False
        if not answer:
            return ()
        entries = answer[link.keys.stream.encode()] if isinstance(answer, dict) else answer[0][1]
        return cast("Sequence[tuple[bytes, Sequence[bytes]]]", entries)

    async def interrupt(self, reading: asyncio.Task[None]) -> None:
        """Let whoever reads have an answer now, so that nothing is given to a connection that nobody listens to."""
        with suppress(TimeoutError, BandmasterError):
            async with asyncio.timeout(_INTERRUPT_SECONDS):
                while not reading.done():
                    if self._waiting and self._number is not None:
                        await execute(self._link.client, "CLIENT", "UNBLOCK", self._number)
                    await asyncio.wait({reading}, timeout=_INTERRUPT_PAUSE)
        # What a read brings that is cut off is pending for this consumer, and found so. More than once: a cancellation
        # may be lost in `asyncio.wait_for`, by which redis-py sends (before Python 3.12).
        while not reading.done():
            reading.cancel()
            await asyncio.wait({reading}, timeout=_INTERRUPT_SECONDS)

    async def close(self) -> None:
        """Give the connection up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)

    async def _connect(self) -> Any:
        connection = self._connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        self._number = None
        try:
            await connection.send_command("CLIENT", "ID")
            self._number = await connection.read_response()
        except ResponseError:
            pass  # users may lack the right to ask; reads are then cut off
        return connection
