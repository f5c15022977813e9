"""The lifespan protocol, spoken as a server speaks it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from starlette.types import ASGIApp, Message


class LifespanError(Exception):
    """The application told its server that it failed.

    ``phase`` is ``startup``, ``serving`` or ``shutdown``. The kit sets ``__cause__`` to the first failure, which the
    protocol doesn't tell.
    """

    def __init__(self, message: str, phase: str) -> None:
        super().__init__(f"the application's {phase} failed: {message}" if phase != "serving" else message)
        self.phase = phase


@asynccontextmanager
async def lifespan(app: ASGIApp) -> AsyncGenerator[dict[str, Any], None]:
    """Start an application by the ASGI lifespan protocol, and stop it; yields the state that requests are to see.

    If it ends while it should serve, the body is cancelled.

    Raises:
        LifespanError: it answered that its startup or shutdown failed, or ended in between.
        RuntimeError: it speaks no lifespan.
    """
    conversation = _Conversation(app)
    ended_by: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        try:
            tasks.start_soon(conversation.run, name="lifespan")
            await conversation.answered.wait()
            if conversation.failed is None:
                with anyio.CancelScope() as body:
                    conversation.ended_early = body.cancel
                    yield conversation.state
                conversation.leave()
                await conversation.over.wait()
        except BaseException as error:  # noqa: BLE001  # raised again below: a task group would make a group of it
            ended_by = error
            # Whatever the body ended by, the application is stopped in order.
            conversation.leave()
            if not isinstance(error, anyio.get_cancelled_exc_class()):
                await conversation.over.wait()
        tasks.cancel_scope.cancel()  # it has said its last word
    try:
        if ended_by is not None:
            if conversation.failed is not None:
                ended_by.add_note(str(conversation.failed))
            raise ended_by
        if conversation.failed is not None:
            raise conversation.failed
    finally:
        del ended_by
        conversation.failed = None


class _Conversation:
    def __init__(self, app: ASGIApp) -> None:
        self.state: dict[str, Any] = {}
        self.answered = anyio.Event()
        self.over = anyio.Event()
        self.failed: Exception | None = None
        self.ended_early: Callable[[], object] = _nobody_serves
        self._app = app
        self._asked = 0
        self._leaving = anyio.Event()

    def leave(self) -> None:
        self._leaving.set()

    async def run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._app(scope, self._receive, self._send)
            if not self.answered.is_set():
                self.failed = RuntimeError("the application returned without speaking the lifespan protocol")
        except Exception as error:  # noqa: BLE001  # raised where the lifespan is waited for
            self.failed = self.failed or error
        finally:
            if self.answered.is_set() and not self._leaving.is_set() and self.failed is None:
                self.failed = LifespanError("the application's lifespan ended while it should serve", "serving")
            self.answered.set()
            self.over.set()
            if not self._leaving.is_set():
                self.ended_early()

    async def _receive(self) -> Message:
        self._asked += 1
        if self._asked == 1:
            return {"type": "lifespan.startup"}
        await self._leaving.wait()
        if self._asked > 2:
            await anyio.sleep_forever()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        match message["type"], self.answered.is_set():
            case "lifespan.startup.complete", False:
                self.answered.set()
            case "lifespan.startup.failed", False:
                self.failed = LifespanError(message.get("message", ""), "startup")
                self.answered.set()
            case "lifespan.shutdown.complete", True:
                self.over.set()
            case "lifespan.shutdown.failed", True:
                self.failed = LifespanError(message.get("message", ""), "shutdown")
                self.over.set()
            case _:
                raise RuntimeError(f"the application sent {message['type']!r} out of turn")


def _nobody_serves() -> None:
    """There is no body yet."""
