"""A start that is cancelled at exactly one of its steps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

import anyio


class StartEnded(Exception):
    """The cancelled start ended by the cancellation."""


class StartContinued(Exception):
    """The cancelled start completed.

    ``delivered`` says whether the cancellation had been raised in the start.
    """

    def __init__(self, *, delivered: bool) -> None:
        super().__init__()
        self.delivered = delivered


class CancelAtStep:
    """Wraps a component's factory so that the start is cancelled at the n-th wait."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.reached = False
        """Whether the start has that many steps."""

    def __call__(self, factory: Callable[..., AbstractAsyncContextManager[Any]]) -> Callable[..., _CancelledManager]:
        """The wrapped factory."""

        def make(**arguments: Any) -> _CancelledManager:
            return _CancelledManager(factory(**arguments), self)

        return make


class _CancelledManager:
    """The manager of a component, inside of two cancel scopes.

    The scopes are open as long as the component, as those of the engine are, so that they nest around the
    component's scopes.
    """

    def __init__(self, manager: AbstractAsyncContextManager[Any], cancellation: CancelAtStep) -> None:
        self._manager = manager
        self._cancellation = cancellation
        self._start_scope = anyio.CancelScope()
        self._shield = anyio.CancelScope()
        self._steps = 0
        self._delivered = False

    async def __aenter__(self) -> Any:
        self._start_scope.__enter__()
        self._shield.__enter__()
        try:
            value = await _WatchedAwaitable(self._enter(), self._count_step, self._note_cancellation)
        except BaseException as error:
            if self._exit_scopes(error):
                raise StartEnded from None
            raise
        # The component has started: the cancelled scope mustn't reach its stop.
        self._shield.shield = True
        if not self._start_scope.cancel_called:
            return value
        await self.__aexit__(None, None, None)
        raise StartContinued(delivered=self._delivered)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            return await self._manager.__aexit__(kind, error, traceback)
        finally:
            self._exit_scopes(None)

    async def _enter(self) -> Any:
        return await self._manager.__aenter__()

    def _exit_scopes(self, error: BaseException | None) -> bool:
        """Exit both scopes. True means that the error was their own cancellation and nothing else."""
        details = (None, None, None) if error is None else (type(error), error, error.__traceback__)
        self._shield.__exit__(*details)
        return bool(self._start_scope.__exit__(*details))

    def _count_step(self) -> None:
        self._steps += 1
        if self._steps == self._cancellation.step:
            self._cancellation.reached = True
            self._start_scope.cancel()

    def _note_cancellation(self, error: BaseException | None) -> None:
        if self._start_scope.cancel_called and isinstance(error, anyio.get_cancelled_exc_class()):
            self._delivered = True


class _WatchedAwaitable:
    """An awaitable with callbacks for each wait, and for each exception from the event loop."""

    def __init__(
        self,
        awaitable: Awaitable[Any],
        on_wait: Callable[[], None],
        on_exception: Callable[[BaseException | None], None],
    ) -> None:
        self._awaitable = awaitable
        self._on_wait = on_wait
        self._on_exception = on_exception

    def __await__(self) -> Generator[Any, Any, Any]:
        inner: Any = self._awaitable.__await__()
        result: Any = None
        error: BaseException | None = None
        try:
            while True:
                try:
                    request = inner.send(result) if error is None else inner.throw(error)
                except StopIteration as end:
                    return end.value
                error = None
                self._on_wait()
                try:
                    result = yield request
                    # trio doesn't throw: it sends an object that holds the exception.
                    self._on_exception(getattr(result, "error", None))
                except BaseException as raised:  # noqa: BLE001  # passed on, whatever it is
                    self._on_exception(raised)
                    error = raised
        finally:
            del error
