"""The lifespan protocol of ASGI, spoken to an app as a server speaks it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
from starlette.types import ASGIApp, Message

from bandmaster.kernel.errors import HostLifespanError


@asynccontextmanager
async def speaking(app: ASGIApp, state: MutableMapping[str, Any], *, must: bool = False) -> AsyncGenerator[None, None]:
    """Run an app's lifespan; what it yields for its requests is put into ``state``.

    An app that raises before it has received anything, that returns without an answer, or that answers as if it were
    asked for a page, has no lifespan, which the specification allows; unless it ``must``, being known to wrap one.

    Raises:
        HostLifespanError: the app answered that its startup or shutdown failed, and raised nothing for it.
        Exception: what it raised, at its startup, at its shutdown, or while it should have served.
    """
    conversation = _Conversation(app, state, must=must)
    async with anyio.create_task_group() as tasks:
        conversation.scope = tasks.cancel_scope
        tasks.start_soon(conversation.run, name="bandmaster: lifespan of the host")
        await conversation.started.wait()
        if conversation.failed is None:
            yield
            conversation.leaving.set()
            await conversation.over.wait()
        else:
            tasks.cancel_scope.cancel()
    # Out here, for a task group would hand it on in a group.
    if conversation.failed is not None:
        raise conversation.failed


class _Conversation:
    """What has been asked and answered."""

    scope: anyio.CancelScope

    def __init__(self, app: ASGIApp, state: MutableMapping[str, Any], *, must: bool) -> None:
        self._app = app
        self._state = state
        self._must = must
        self._questions = iter(("startup", "shutdown"))
        self._asked = False
        self._speaks = True
        self.failed: Exception | None = None
        self.started = anyio.Event()
        self.leaving = anyio.Event()
        self.over = anyio.Event()

    async def run(self) -> None:
        """Hold the conversation to its end, and make out whether the app failed."""
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._state}
        try:
            await self._app(scope, self._receive, self._send)
        except Exception as error:  # noqa: BLE001  # it is raised where the lifespan is held
            # Where it has answered that it failed, this says of what.
            if self._must or self.started.is_set() or (self._asked and self._speaks):
                self.failed = _alone(error)
                self._end_what_is_served()
        finally:
            self.started.set()
            self.over.set()

    async def _receive(self) -> Message:
        question = next(self._questions, None)
        if question == "shutdown":
            await self.leaving.wait()
        elif question is None:
            # Nothing more will come. Servers end the loop now, and with it whoever listens on.
            self.scope.cancel()
            await anyio.sleep_forever()
        self._asked = True
        return {"type": f"lifespan.{question}"}

    async def _send(self, message: Message) -> None:
        match message["type"]:
            case "lifespan.startup.complete":
                self.started.set()
            case "lifespan.shutdown.complete":
                self.over.set()
            case "lifespan.startup.failed" | "lifespan.shutdown.failed" as kind:
                # Frameworks send a traceback; its last line says what happened.
                said = str(message.get("message") or "").rstrip().rpartition("\n")[2]
                self.failed = HostLifespanError(said or f"the app sent {kind}")
                self._end_what_is_served()
                self.started.set()
                self.over.set()
            case other:
                self._speaks = False
                raise RuntimeError(f"expected a lifespan message, got {other!r}")

    def _end_what_is_served(self) -> None:
        if self.started.is_set() and not self.leaving.is_set():
            self.scope.cancel()


def _alone(error: Exception) -> Exception:
    # Frameworks hold lifespans in task groups, which tell only that something has failed.
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
