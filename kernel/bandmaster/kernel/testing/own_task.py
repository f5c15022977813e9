"""Enter and exit a context manager in one separate task, whichever tasks use the context manager."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import wraps
from types import TracebackType
from typing import Generic, ParamSpec, TypeVar

import anyio
import sniffio

_P = ParamSpec("_P")
_T = TypeVar("_T")


def in_own_task(
    make: Callable[_P, AbstractAsyncContextManager[_T]],
) -> Callable[_P, AbstractAsyncContextManager[_T]]:
    """Let the context managers that a function makes live in tasks of their own.

    anyio's task groups and cancel scopes must be exited in the task that entered them. pytest-asyncio runs the set-up
    and the teardown of a fixture in two tasks.
    """

    @wraps(make)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> AbstractAsyncContextManager[_T]:
        return _OwnTask(make(*args, **kwargs))

    return wrapper


class _OwnTask(AbstractAsyncContextManager[_T], Generic[_T]):
    def __init__(self, manager: AbstractAsyncContextManager[_T]) -> None:
        self._manager = manager
        self._is_asyncio = False

    async def __aenter__(self) -> _T:
        self._is_asyncio = sniffio.current_async_library() == "asyncio"
        if not self._is_asyncio:
            # anyio's plugin, the only one that runs fixtures on trio, runs set-up, test and teardown in one task.
            return await self._manager.__aenter__()
        self._entered = anyio.Event()
        self._left = anyio.Event()
        self._ended = anyio.Event()
        self._scope = anyio.CancelScope()
        self._value: _T
        self._body = asyncio.current_task()
        self._interrupted = False
        self._body_error: BaseException | None = None
        self._error: BaseException | None = None
        # The loop refers to its tasks weakly.
        self._task = asyncio.create_task(self._run(), name=f"bandmaster: {self._manager!r}")
        try:
            await self._entered.wait()
        except BaseException:
            self._scope.cancel()
            self._left.set()
            await self._wait_for_end()
            raise
        if self._ended.is_set():
            self._raise_error()
        return self._value

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        if not self._is_asyncio:
            return await self._manager.__aexit__(kind, error, traceback)
        is_cancelled = isinstance(error, (asyncio.CancelledError, GeneratorExit))
        if self._interrupted and self._body is not None:
            self._body.uncancel()
        elif is_cancelled:
            # The manager sees a cancellation of its own task, as it would without this class.
            self._scope.cancel()
        self._body_error = None if is_cancelled else error
        self._left.set()
        await self._wait_for_end()
        if self._error is not error:
            self._raise_error()
            # The manager has raised nothing, so it has suppressed the exception of the body.
            return self._interrupted or not is_cancelled
        self._error = self._body_error = None
        return False

    async def _run(self) -> None:
        try:
            with self._scope:
                async with self._manager as self._value:
                    self._entered.set()
                    await self._wait_for_body()
                    if self._body_error is not None:
                        raise self._body_error
        except BaseException as error:  # noqa: BLE001  # raised where the context manager is used
            self._error = error
        finally:
            self._entered.set()
            self._ended.set()

    async def _wait_for_body(self) -> None:
        try:
            await self._left.wait()
        except asyncio.CancelledError:
            if self._interrupt_body():
                # The body's own clean-up comes before the manager's.
                with anyio.CancelScope(shield=True):
                    await self._left.wait()
            if self._body_error is None:
                raise

    def _interrupt_body(self) -> bool:
        """Cancel the body, as the manager has asked. False means that no body is running.

        The task of a fixture's set-up has ended when a test runs.
        """
        if self._left.is_set() or self._body is None or self._body.done():
            return False
        self._interrupted = True
        return self._body.cancel()

    async def _wait_for_end(self) -> None:
        with anyio.CancelScope(shield=True):
            try:
                await self._ended.wait()
            except asyncio.CancelledError:
                # asyncio's own cancellation ignores shields.
                self._scope.cancel()
                await self._ended.wait()
                raise

    def _raise_error(self) -> None:
        error, self._error, self._body_error = self._error, None, None
        try:
            if error is not None:
                raise error
        finally:
            del error
