"""Run blocking functions in threads that can't keep the process from its end."""

from __future__ import annotations

import threading
from collections.abc import Callable

import anyio

_POLL = 0.005
"""Seconds between two looks at the thread."""


async def run_in_daemon_thread(function: Callable[[], object], seconds: float, *, name: str) -> bool:
    """Run a blocking function, and wait for so many ``seconds`` at the most. Returns whether the function has ended.

    A function that hangs keeps its thread, which holds up neither the event loop nor the end of the process. Threads of
    an event loop's own pool are joined at the end of the process, for as long as the function takes.

    Raises:
        Exception: the exception of the function, if raised in time.
    """
    failures: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001  # raised by the caller
            failures.append(error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    # Looked at again and again, since the thread may end when the event loop is gone, and a call to it would fail then.
    with anyio.move_on_after(seconds):
        while thread.is_alive():  # noqa: ASYNC110
            await anyio.sleep(_POLL)
    if failures:
        raise failures[0]
    return not thread.is_alive()
