"""Run an app's lifespan by the ASGI lifespan protocol, as a server does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
from starlette.types import ASGIApp, Message

from bandmaster.kernel.errors import HostLifespanError


class LifespanClient:
    """The server's side of the lifespan protocol, for one run of one app.

    The ASGI specification lets an app have no lifespan. Such an app raises before it has received anything, returns
    without an answer, or answers as if a page had been requested, and is served like others. ``required`` means that
    the app is known to have a lifespan: then each of these is an error, and so is a return before the shutdown.
    ``state`` has the values that the app finds in the scope's state.
    """

    def __init__(self, app: ASGIApp, *, required: bool = False, state: Mapping[str, Any] | None = None) -> None:
        self.state: dict[str, Any] = dict(state or {})
        """The values that the app has for its requests."""
        self.reported: HostLifespanError | None = None
        """The failure that the app has sent, if any."""
        self.raised: BaseException | None = None
        """The exception that the app has raised, if that was a failure."""
        self._app = app
        self._required = required
        self._questions = iter(("startup", "shutdown"))
        self._asked = False
        self._speaks = True
        self._answered = anyio.Event()
        self._leaving = anyio.Event()

    @property
    def failure(self) -> BaseException | None:
        """The reason why the lifespan failed. Frameworks send a traceback and raise: the exception itself counts."""
        return self.raised or self.reported

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Start the app before the block, and stop the app after it. The block is cancelled if the app fails.

        An exception of the block is raised unchanged, once the app has stopped.

        Raises:
            HostLifespanError: the app reported a failure and raised nothing, or ended although ``required``.
            RuntimeError: the app is ``required`` but doesn't speak the protocol.
            BaseException: the app raised an exception, from startup to shutdown.
        """
        error: BaseException | None = None
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                tasks.start_soon(self._run, name="bandmaster: lifespan of the host")
                await self._answered.wait()
                if self.failure is None:
                    try:
                        yield
                    except (GeneratorExit, anyio.get_cancelled_exc_class()):
                        raise
                    except BaseException as raised:  # noqa: BLE001  # raised below: a task group would wrap it
                        error = raised
                    self._leaving.set()
            if error is not None:
                if self.failure is not None:
                    error.add_note(self._describe_failure())
                raise error
            if self.failure is not None:
                raise self.failure
        finally:
            # The exception refers to this frame, and the frame to the exception: a cycle.
            del error

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._app(scope, self._receive, self._send)
            self._check_return()
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: BLE001  # raised where the lifespan runs
            # An app that fails before it has shown that it knows the protocol has no lifespan. A SystemExit means the
            # process; out of a task of its own, asyncio would end the event loop by it, and no component would stop.
            is_known = self._required or self._answered.is_set() or (self._asked and self._speaks)
            if is_known or not isinstance(error, Exception):
                self.raised = _unwrap(error)
        finally:
            self._answered.set()
            if self.failure is not None:
                self._tasks.cancel_scope.cancel()

    def _check_return(self) -> None:
        if not self._required or self._leaving.is_set() or self.reported is not None:
            return
        if not self._answered.is_set():
            raise RuntimeError("the application returned without speaking the lifespan protocol")
        self.reported = HostLifespanError("the application's lifespan ended while it should serve", "serving")

    async def _receive(self) -> Message:
        question = next(self._questions, None)
        if question == "shutdown":
            await self._leaving.wait()
        elif question is None:
            # Nothing more will come. Servers end the event loop now, and with it an app that still listens.
            self._tasks.cancel_scope.cancel()
            await anyio.sleep_forever()
        self._asked = True
        return {"type": f"lifespan.{question}"}

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        match kind, self._answered.is_set():
            case "lifespan.startup.complete", False:
                self._answered.set()
            case "lifespan.shutdown.complete", True:
                pass  # its clean-up may go on; the lifespan is over when the app returns
            case ("lifespan.startup.failed", False) | ("lifespan.shutdown.failed", True):
                self._report(kind, str(message.get("message") or ""))
            case str(), _ if kind.startswith("lifespan."):
                raise RuntimeError(f"the application sent {kind!r} out of turn")
            case _:
                self._speaks = False
                raise RuntimeError(f"expected a lifespan message, got {kind!r}")

    def _report(self, kind: str, message: str) -> None:
        # Frameworks send a traceback; its last line has the error.
        line = message.rstrip().rpartition("\n")[2] or f"the app sent {kind}"
        self.reported = HostLifespanError(line, kind.split(".")[1])
        self._answered.set()
        # Ends the block, and an app that hangs now. An exception that the app raises without waiting still counts.
        self._tasks.cancel_scope.cancel()

    def _describe_failure(self) -> str:
        phase = self.reported.phase if self.reported is not None else "lifespan"
        return f"the application's {phase} failed: {self.failure}"


def _unwrap(error: BaseException) -> BaseException:
    # Frameworks hold lifespans in task groups, and a group's own text says only that something has failed.
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
