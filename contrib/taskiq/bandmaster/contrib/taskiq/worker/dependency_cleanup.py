"""Closes the dependencies that TaskIQ opened for a run: generators and context managers.

TaskIQ's own ``close`` throws errors in a form that Python 3.12 deprecates, closes the dependencies of a dependency
before the dependency itself, and leaves the others open if one fails.
"""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import Any

from taskiq_dependencies.ctx import AsyncResolveContext

from bandmaster.contrib.taskiq.errors import render_error
from bandmaster.contrib.taskiq.logger import get_logger


async def close_dependencies(resolved: AsyncResolveContext, kind: Any, error: BaseException | None, trace: Any) -> None:
    """Close all dependencies, the last opened first. Each sees the error of the run, or of a dependency closed before.

    Raises:
        BaseException: the error of the first dependency that failed to close. If the run had failed, such errors are
            logged instead, except a cancellation.
    """
    first = await _close_all(resolved, error)
    if first is not None and first is not error:
        raise first


async def _close_all(resolved: AsyncResolveContext, error: BaseException | None) -> BaseException | None:
    for opened in reversed(resolved.opened_dependencies):
        try:
            await _close(opened, error)
        except BaseException as failure:  # noqa: BLE001  # the others are closed first
            if failure is error:
                continue
            if error is None or (isinstance(error, Exception) and not isinstance(failure, Exception)):
                # A cancellation is meant for the task, whatever error the task has raised before.
                error = failure
            elif isinstance(failure, Exception):
                get_logger().warning("a dependency failed to close", error=render_error(failure))
    for inner in reversed(resolved.sub_contexts):
        error = await _close_all(inner, error)
    return error


async def _close(opened: Any, error: BaseException | None) -> None:
    if inspect.isgenerator(opened):
        with suppress(StopIteration):
            if error is None:
                next(opened)
            else:
                opened.throw(error)
            opened.close()
    elif inspect.isasyncgen(opened):
        with suppress(StopAsyncIteration):
            await (anext(opened) if error is None else opened.athrow(error))
            await opened.aclose()
    else:
        raised = (None, None, None) if error is None else (type(error), error, error.__traceback__)
        if hasattr(opened, "__aexit__"):
            await opened.__aexit__(*raised)
        else:
            opened.__exit__(*raised)
