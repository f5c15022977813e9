"""Render the stack of a suspended coroutine."""

from __future__ import annotations

import gc
import inspect
import traceback
from collections.abc import Iterator
from contextlib import _AsyncGeneratorContextManager
from types import FrameType
from typing import Any

from bandmaster.kernel.lifecycle import component_manager
from bandmaster.kernel.lifecycle.component_manager import ComponentManager

_MACHINERY = frozenset(("anyio", "asyncio", "contextlib", "trio"))


def render_coroutine_stack(awaitable: Any) -> str:
    """Render the stack of a suspended coroutine like a traceback, innermost frame last; empty for any other object.

    Frames of the event loop's libraries are left out, since every wait ends with the same ones, and so is the frame
    around each component.
    """
    frames = [frame for frame in _walk(awaitable) if not _is_machinery(frame.f_globals.get("__name__", ""))]
    summary = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames)
    return "".join(summary.format()).rstrip()


def awaits_thread(awaitable: Any) -> bool:
    """Whether a suspended coroutine awaits a function that runs in one of anyio's worker threads.

    Knows anyio's ``run_sync_in_worker_thread`` by name: asyncio's cancellation would abandon the thread, which goes on.
    """
    return any(frame.f_code.co_name == "run_sync_in_worker_thread" for frame in _walk(awaitable))


def _walk(awaitable: Any) -> Iterator[FrameType]:
    """The frames of a suspended coroutine, innermost last."""
    seen = set()
    while awaitable is not None and id(awaitable) not in seen:
        seen.add(id(awaitable))
        frame, awaitable = _step(awaitable)
        if frame is not None:
            yield frame


def _is_machinery(module: str) -> bool:
    return module.partition(".")[0] in _MACHINERY or module == component_manager.__name__


def _step(awaitable: Any) -> tuple[FrameType | None, Any]:
    if inspect.iscoroutine(awaitable):
        return awaitable.cr_frame, awaitable.cr_await
    if inspect.isasyncgen(awaitable):
        return awaitable.ag_frame, awaitable.ag_await
    if inspect.isgenerator(awaitable):
        return awaitable.gi_frame, awaitable.gi_yieldfrom
    if isinstance(awaitable, ComponentManager):
        return None, awaitable.manager
    if isinstance(awaitable, _AsyncGeneratorContextManager):
        return None, awaitable.gen
    # The objects in between (an async generator's asend(), a coroutine's __await__()) have no attribute for the object
    # that they await, but refer to it, which the garbage collector can tell.
    inner = [other for other in gc.get_referents(awaitable) if inspect.iscoroutine(other) or inspect.isasyncgen(other)]
    return None, inner[0] if inner else None
