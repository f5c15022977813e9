"""Calls of an ASGI application, each in a task of its own, from the server's side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import Context, copy_context
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup
from starlette.types import ASGIApp, Message, Scope

from bandmaster.kernel.lifecycle.coroutine_stacks import render_coroutine_stack
from bandmaster.kernel.testing.mailbox import Mailbox
from bandmaster.kernel.testing.timeouts import fail_after

HIGH_WATER = 65536
"""The bytes that an application may send ahead of its client, as with uvicorn."""


class ClientGoneError(OSError):
    """The client has disconnected, as the ASGI specification (2.4) defines for ``send``."""


class ASGIViolationError(RuntimeError):
    """The application sent a message that a server would refuse."""


class Call:
    """One call: the task of the application with its ``receive`` and ``send``, and the client at the other end."""

    def __init__(self, name: str, app: ASGIApp, scope: Scope) -> None:
        self.name = name
        """The call in error texts: ``GET /items``."""
        self.scope = scope
        self.inbox: Mailbox[Message] = Mailbox()
        self.outbox: Mailbox[Message] = Mailbox(HIGH_WATER)
        self.ended = anyio.Event()
        """Set when the application has returned or raised."""
        self.error: BaseException | None = None
        """The exception that the application raised, until a test has been shown it."""
        self.client_left = False
        self.cancelled = False
        """Whether the kit has cancelled the application."""
        self._app = app
        self._scope = anyio.CancelScope()
        self._coroutine: Any = None

    async def run(self) -> None:
        """Run the application, and keep its exception for the client."""
        try:
            with self._scope:
                self._coroutine = self._app(self.scope, self.receive, self.send)
                await self._coroutine
            self.check_complete()
        except BaseException as error:  # raised where the client waits
            if isinstance(error, anyio.get_cancelled_exc_class()):
                raise
            self.error = error
        finally:
            self._coroutine = None
            self.inbox.close()
            self.outbox.close()
            self.ended.set()

    async def receive(self) -> Message:
        """The ``receive`` of the application."""
        raise NotImplementedError

    async def send(self, message: Message) -> None:
        """The ``send`` of the application."""
        # A server may let other tasks run while it writes, so no application may rely on the opposite.
        await anyio.lowlevel.checkpoint()
        if self.client_left:
            self.send_after_disconnect(message)
            return
        self.check(message)
        self.outbox.put(message, size_of(message))
        await self.outbox.wait_for_room()

    def leave(self) -> None:
        """Disconnect the client."""
        raise NotImplementedError

    def check(self, message: Message) -> None:
        """Refuse a message that a server would refuse."""
        raise NotImplementedError

    def check_complete(self) -> None:
        """Refuse a return before the response is complete."""
        raise NotImplementedError

    def send_after_disconnect(self, message: Message) -> None:
        """Do with a message as a server does after the client has disconnected."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Cancel the application."""
        self.cancelled = True
        self._scope.cancel()

    def describe_position(self) -> str:
        """The lines at which the application waits, for an error text."""
        stack = render_coroutine_stack(self._coroutine)
        return f"; the application stands at\n{stack}\n" if stack else ""

    def take_error(self) -> BaseException | None:
        """The exception of the application, once; none for the report that the client has disconnected."""
        error, self.error = self.error, None
        return None if error is None or (self.client_left and _reports_disconnect(error)) else error


class Calls:
    """All calls of one application by one client."""

    def __init__(
        self,
        app: ASGIApp,
        tasks: TaskGroup,
        state: Mapping[str, Any],
        *,
        timeout: float | None,
        raise_app_exceptions: bool,
    ) -> None:
        self.app = app
        self.tasks = tasks
        self.state = state
        self.timeout = timeout
        self.raise_app_exceptions = raise_app_exceptions
        # A request mustn't see the context variables of the test, nor those of the request before it.
        self._context: Context = copy_context()
        self._calls: list[Call] = []
        self._closed = False

    def start(self, call: Call) -> None:
        """Start the application's task."""
        if self._closed:
            raise RuntimeError("the client is closed: the application that it was connected to has stopped")
        self._calls = [other for other in self._calls if not other.ended.is_set() or other.error is not None]
        self._calls.append(call)
        self._context.copy().run(partial(self.tasks.start_soon, call.run, name=call.name))

    async def wait_idle(self) -> None:
        """Wait until no call is served any more, those included that their clients have left.

        Raises:
            TimeoutError: a call goes on; the message names the call.
        """
        with fail_after(self.timeout, lambda: f"{self._describe_served()} did not end"):
            for call in self._calls:
                await call.ended.wait()

    async def wait_end(self, call: Call, seconds: float | None) -> None:
        """Wait until the application has ended a call that the client has left.

        Raises:
            TimeoutError: the application goes on.
        """
        with fail_after(seconds, lambda: f"{call.name}: the application did not end{call.describe_position()}"):
            await call.ended.wait()

    def take_errors(self, *calls: Call) -> list[tuple[Call, BaseException]]:
        """The exceptions of these calls, else of all, that a test should be shown."""
        errors = [(call, call.take_error()) for call in calls or self._calls]
        return [(call, error) for call, error in errors if error is not None and self.raise_app_exceptions]

    def close(self) -> None:
        """Disconnect all clients, and cancel the application."""
        self._closed = True
        for call in self._calls:
            call.leave()
            call.cancel()

    def _describe_served(self) -> str:
        return ", ".join(call.name for call in self._calls if not call.ended.is_set())


def add_notes(error: BaseException, others: Iterable[tuple[Call, BaseException]]) -> None:
    """Note on the exception of a test which exceptions the application raised beside it."""
    for call, other in others:
        if other is not error:
            error.add_note(f"{call.name}: the application raised {type(other).__name__}: {other}")


def raise_first(errors: Iterable[tuple[Call, BaseException]]) -> None:
    """Raise the exception of the application, if there is one."""
    for _, error in errors:
        try:
            raise error
        finally:
            del error, errors  # a frame that holds the exception it raises is a cycle


def raise_unawaited(errors: Iterable[tuple[Call, BaseException]]) -> None:
    """Raise the exceptions of calls for which no test has waited."""
    found = list(errors)
    try:
        for call, error in found:
            error.add_note(f"while serving {call.name}, for which no test waited any more")
        if len(found) == 1:
            raise found[0][1]
        if found:
            raise BaseExceptionGroup("requests failed for which no test waited any more", [error for _, error in found])
    finally:
        del found, errors


def size_of(message: Mapping[str, Any]) -> int:
    """The number of bytes, or characters, in a message."""
    return len(message.get("body") or message.get("bytes") or message.get("text") or b"")


def _reports_disconnect(error: BaseException) -> bool:
    from starlette.requests import ClientDisconnect
    from starlette.websockets import WebSocketDisconnect

    if isinstance(error, BaseExceptionGroup):
        return all(map(_reports_disconnect, error.exceptions))
    return isinstance(error, (OSError, ClientDisconnect, WebSocketDisconnect))
