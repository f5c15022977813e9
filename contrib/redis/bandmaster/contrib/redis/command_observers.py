"""Observers of commands, such as tracing, which are told of the begin and the end of each command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bandmaster.kernel import get_logger


@dataclass(frozen=True, slots=True)
class ClientPlace:
    """The client that sends a command, and the server that receives the command."""

    client: str
    """The name of the client's component, such as ``redis``."""
    database: int
    host: str
    """The first host of the settings, or the path of a Unix socket."""
    port: int | None


@dataclass(frozen=True, slots=True)
class RedisCommand:
    """A command, or a pipeline of several, without keys and values."""

    place: ClientPlace
    name: str
    """The command in capitals, such as ``GET``; ``PIPELINE`` or ``MULTI`` (a transaction) for several."""
    names: tuple[str, ...]
    """The commands of a pipeline in capitals, in order; the command itself otherwise."""


class ReportCommandEnd(Protocol):
    """A function that is called once, when a command has ended, with its error."""

    def __call__(self, error: BaseException | None, /) -> object:
        """Note the end."""
        ...


class CommandObserver(Protocol):
    """Observes the commands of all Redis clients that are components of the application. A component provides one.

    ```python
    @lifespan(band=LifespanBand.OBSERVABILITY)
    async def command_times() -> AsyncIterator[CommandObserver]:
        yield CommandTimes()
    ```

    Health checks, subscriptions, and the commands of the task queue aren't reported. The event loop calls the methods,
    which must not block. Their exceptions are logged.
    """

    def observe_command(self, command: RedisCommand) -> ReportCommandEnd | None:
        """Note a command that begins, and return the function that notes its end."""
        ...


def begin_command(observers: Sequence[CommandObserver], command: RedisCommand) -> list[ReportCommandEnd]:
    """Report a command to all observers, and return the functions that note the end. Never raises."""
    ends: list[ReportCommandEnd] = []
    for observer in observers:
        try:
            if (end := observer.observe_command(command)) is not None:
                ends.append(end)
        except Exception as error:  # noqa: BLE001  # an observer raises errors of any type, and the command goes on
            _log_failure(observer, error)
    return ends


def end_command(ends: Sequence[ReportCommandEnd], error: BaseException | None) -> None:
    """Report the end of a command. Never raises."""
    for end in ends:
        try:
            end(error)
        except Exception as failure:  # noqa: BLE001  # as above
            _log_failure(end, failure)


def _log_failure(observer: object, error: Exception) -> None:
    get_logger("bandmaster.redis").error(
        "an observer of Redis commands failed",
        observer=getattr(observer, "__qualname__", type(observer).__qualname__),
        error=type(error).__name__,
        exception=error,
    )
