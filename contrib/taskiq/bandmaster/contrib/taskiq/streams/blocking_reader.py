"""Blocking reads of new messages on a connection of their own, and a way to interrupt one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from bandmaster.contrib.taskiq.streams.script_runner import ScriptRunner, execute, lacks_group
from bandmaster.kernel import BandmasterError

_INTERRUPT_SECONDS = 1.0
_INTERRUPT_PAUSE = 0.02


class BlockingReader:
    """Reads new messages on a connection of its own, so that the server can unblock a read by the connection's id."""

    def __init__(self, client: Redis, runner: ScriptRunner) -> None:
        self._pool = client.connection_pool
        self._runner = runner
        self._connection: Any = None
        self._connection_id: int | None = None
        self._waiting = False

    async def read(self, count: int, seconds: float) -> Sequence[tuple[bytes, Sequence[bytes]]]:
        """Up to ``count`` new messages as soon as there are any, or none after ``seconds``.

        Raises:
            TransientError: another try may succeed.
            PermanentError: the server refuses.
        """
        runner = self._runner
        try:
            connection = self._connection or await self._connect()
            self._waiting = True
            await connection.send_command(
                *("XREADGROUP", "GROUP", runner.group, runner.consumer),
                *("COUNT", count, "BLOCK", max(1, round(seconds * 1000)), "STREAMS", runner.keys.stream, ">"),
            )
            answer = await connection.read_response()
        except BaseException as error:
            # The answer of this read may still arrive, and would be taken for the answer of the next command.
            if not lacks_group(error):
                await self.close()
            raise
        finally:
            self._waiting = False
        if not answer:
            return ()
        entries = answer[runner.keys.stream.encode()] if isinstance(answer, dict) else answer[0][1]
        return cast("Sequence[tuple[bytes, Sequence[bytes]]]", entries)

    async def interrupt(self, reading: asyncio.Task[None]) -> None:
        """Make the server answer now: a message must not be delivered to a connection that is about to be closed."""
        with suppress(TimeoutError, BandmasterError):
            async with asyncio.timeout(_INTERRUPT_SECONDS):
                while not reading.done():
                    if self._waiting and self._connection_id is not None:
                        await execute(self._runner.client, "CLIENT", "UNBLOCK", self._connection_id)
                    await asyncio.wait({reading}, timeout=_INTERRUPT_PAUSE)
        # The messages of a cancelled read are pending for this consumer, and are released with the others. Cancelled
        # more than once: `asyncio.wait_for`, which redis-py uses to send, may lose a cancellation (before Python 3.12).
        while not reading.done():
            reading.cancel()
            await asyncio.wait({reading}, timeout=_INTERRUPT_SECONDS)

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)

    async def _connect(self) -> Any:
        connection = self._connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        self._connection_id = None
        try:
            await connection.send_command("CLIENT", "ID")
            self._connection_id = await connection.read_response()
        except ResponseError:
            pass  # users may lack the right to ask; reads are cancelled then, rather than unblocked
        return connection
