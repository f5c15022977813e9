"""Observers of a queue, which components provide, and the calls to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from bandmaster.contrib.taskiq.logger import get_logger
from bandmaster.contrib.taskiq.observers.task_events import TaskAttempt, TaskEvent, TaskSending


class TaskObserver(Protocol):
    """Observes the messages and tasks of this process. A component provides one.

    ```python
    class Outcomes(TaskObserver):
        def on_task_event(self, event: TaskEvent) -> None:
            match event:
                case AttemptEnded(attempt, outcome):
                    self.count(attempt.task, outcome)


    @lifespan(band=LifespanBand.OBSERVABILITY)
    async def outcomes() -> AsyncIterator[TaskObserver]:
        yield Outcomes()
    ```

    The event loop calls the methods, which must not block. Their exceptions are logged, and change nothing. A class
    that derives from this one may leave out each method.
    """

    carries_trace: bool = False
    """Whether the observer sends and restores traces, in place of OpenTelemetry's global propagator."""

    def observe_sending(self, sending: TaskSending) -> AbstractContextManager[object]:
        """A block around the sending of a message, entered in the task that sends."""
        return nullcontext()

    def observe_attempt(self, attempt: TaskAttempt) -> AbstractContextManager[object]:
        """A block around an attempt: dependencies, the task itself, and the storing of the result.

        Context variables that the block sets are seen by the task, by synchronous tasks in their threads as well.
        """
        return nullcontext()

    def on_task_event(self, event: TaskEvent) -> None:
        """Note an event. Events of a sending or attempt come within its block."""


class TaskObservers:
    """The observers of a queue. No method raises an error of an observer."""

    def __init__(self, queue: str = "tasks", observers: Sequence[TaskObserver] = ()) -> None:
        self.queue = queue
        """The name of the queue."""
        self._observers = tuple(observers)
        self.carries_trace = any(getattr(observer, "carries_trace", False) for observer in observers)

    def observe_sending(self, sending: TaskSending) -> AbstractContextManager[None]:
        """The blocks of all observers around a sending."""
        return self._enter_all(lambda observer: observer.observe_sending(sending))

    def observe_attempt(self, attempt: TaskAttempt) -> AbstractContextManager[None]:
        """The blocks of all observers around an attempt."""
        return self._enter_all(lambda observer: observer.observe_attempt(attempt))

    def report(self, event: TaskEvent) -> None:
        """Tell every observer about an event."""
        for observer in self._observers:
            try:
                observer.on_task_event(event)
            except Exception as error:  # noqa: BLE001  # an observer raises errors of any type, and the task goes on
                _log_failure(observer, error)

    @contextmanager
    def _enter_all(self, open_block: Callable[[TaskObserver], AbstractContextManager[object]]) -> Iterator[None]:
        entered: list[tuple[TaskObserver, AbstractContextManager[object]]] = []
        for observer in self._observers:
            try:
                block = open_block(observer)
                block.__enter__()
            except Exception as error:  # noqa: BLE001  # as above
                _log_failure(observer, error)
            else:
                entered.append((observer, block))
        failure: BaseException | None = None
        try:
            yield
        except BaseException as error:
            failure = error
            raise
        finally:
            for observer, block in reversed(entered):
                try:
                    # The result is ignored: a block can't suppress the exception, so that the outcome stays the same.
                    if failure is None:
                        block.__exit__(None, None, None)
                    else:
                        block.__exit__(type(failure), failure, failure.__traceback__)
                except Exception as error:  # noqa: BLE001  # as above
                    if error is not failure:
                        _log_failure(observer, error)
            del failure  # a frame that holds the exception it raises is a reference cycle


def _log_failure(observer: TaskObserver, error: Exception) -> None:
    get_logger().error(
        "an observer of tasks failed",
        observer=type(observer).__qualname__,
        error=type(error).__name__,
        exception=error,
    )
