"""A start that is cancelled at exactly one of its steps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

import anyio


class Cut(Exception):
    """The start was cancelled, and ended by it."""


class WentOn(Exception):
    """The start was cancelled, and entered all the same.

    ``knew`` says whether the cancellation had reached it.
    """

    def __init__(self, *, knew: bool) -> None:
        super().__init__()
        self.knew = knew


class CutAt:
    """Wraps a component's factory so that its start is cancelled when it waits for the n-th time."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.reached = False
        """Whether there was such a step."""

    def __call__(self, factory: Callable[..., AbstractAsyncContextManager[Any]]) -> Callable[..., _Manager]:
        """The factory, wrapped."""

        def make(**arguments: Any) -> _Manager:
            return _Manager(factory(**arguments), self)

        return make


class _Manager:
    """Scopes stand around the whole life of the component, as the engine's do, so that they nest around its own."""

    def __init__(self, manager: AbstractAsyncContextManager[Any], cut: CutAt) -> None:
        self._manager = manager
        self._cut = cut
        self._abort = anyio.CancelScope()
        self._guard = anyio.CancelScope()
        self._steps = 0
        self._knew = False

    async def __aenter__(self) -> Any:
        self._abort.__enter__()
        self._guard.__enter__()
        try:
            value = await _Watched(self._enter(), self._waits, self._is_told)
        except BaseException as error:
            if self._leave(error):
                raise Cut from None
            raise
        self._guard.shield = True
        if not self._abort.cancel_called:
            return value
        await self.__aexit__(None, None, None)
        raise WentOn(knew=self._knew)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            return await self._manager.__aexit__(kind, error, traceback)
        finally:
            self._leave(None)

    async def _enter(self) -> Any:
        return await self._manager.__aenter__()

    def _leave(self, error: BaseException | None) -> bool:
        """Whether the error was no more than the cancellation by this."""
        about = (None, None, None) if error is None else (type(error), error, error.__traceback__)
        self._guard.__exit__(*about)
        return bool(self._abort.__exit__(*about))

    def _waits(self) -> None:
        self._steps += 1
        if self._steps == self._cut.step:
            self._cut.reached = True
            self._abort.cancel()

    def _is_told(self, error: BaseException | None) -> None:
        if self._abort.cancel_called and isinstance(error, anyio.get_cancelled_exc_class()):
            self._knew = True


class _Watched:
    """An awaitable that tells whenever it waits, and whenever it is told of an exception."""

    def __init__(
        self, awaitable: Awaitable[Any], waits: Callable[[], None], is_told: Callable[[BaseException | None], None]
    ) -> None:
        self._awaitable = awaitable
        self._waits = waits
        self._is_told = is_told

    def __await__(self) -> Generator[Any, Any, Any]:
        inner: Any = self._awaitable.__await__()
        told: Any = None
        error: BaseException | None = None
        try:
            while True:
                try:
                    waiting = inner.send(told) if error is None else inner.throw(error)
                except StopIteration as end:
                    return end.value
                error = None
                self._waits()
                try:
                    told = yield waiting
                    # trio doesn't throw: it sends what holds the exception.
                    self._is_told(getattr(told, "error", None))
                except BaseException as raised:  # noqa: BLE001  # handed on, whatever it is
                    self._is_told(raised)
                    error = raised
        finally:
            del error
