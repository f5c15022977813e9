"""Tell cancellations from errors, and wait in spite of cancellations."""

from __future__ import annotations

from collections.abc import Iterable

import anyio


async def wait_through(events: Iterable[anyio.Event], scope: anyio.CancelScope | None = None) -> BaseException | None:
    """Wait until every event is set, or until ``scope`` is cancelled, and return the last interruption of the wait.

    A shielded scope holds off the cancellations of outer scopes. No scope holds off asyncio's own ``task.cancel()`` or
    Ctrl-C; these interrupt the wait, which then goes on.
    """
    interruption: BaseException | None = None
    with scope or anyio.CancelScope(shield=True) as within:
        for event in events:
            while not (event.is_set() or within.cancel_called):
                try:
                    await event.wait()
                except GeneratorExit:  # the event loop is gone, and sets nothing any more
                    raise
                except BaseException as error:  # noqa: BLE001  # the caller decides, once the wait is over
                    interruption = error
    return interruption


def remove_cancellations(error: BaseException, *, expected: bool) -> BaseException | None:
    """Return the error that a component has raised by itself, without the cancellations that the component obeyed.

    None where nothing else is left and the kernel ``expected`` a cancellation, having cancelled the component. A
    cancellation that the kernel hadn't caused becomes an error.
    """
    cancelled = anyio.get_cancelled_exc_class()
    own: BaseException | None = None if isinstance(error, cancelled) else error
    if isinstance(error, BaseExceptionGroup) and error.subgroup(cancelled) is not None:
        # On Trio, an error in the clean-up of a cancelled task group stands beside the cancellations of its tasks.
        own = error.split(cancelled)[1]
    return own if own is not None or expected else make_outside_cancellation(error)


def make_outside_cancellation(error: BaseException | None) -> RuntimeError:
    """Make the error that reports a cancellation of one of the kernel's tasks by other code."""
    cancelled = RuntimeError("its task was cancelled from outside the kernel")
    cancelled.__cause__ = error
    return cancelled
