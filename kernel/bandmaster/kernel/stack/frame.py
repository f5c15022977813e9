"""The one frame that a run of neighbouring hook layers puts around the application.

What the hooks can rely on:

- A layer is entered when its ``on_request`` has returned; one without it, when all layers outside it are entered. Like
  a context manager's ``__enter__``, an ``on_request`` that raises doesn't enter its layer.
- Every entered layer sees the start of whatever response goes out, be it the application's or a hook's, and the end.
- ``on_error`` sees what the application raised, unless it says that the client has gone; the first hook that answers
  ends the search. Unanswered, the exception goes on unchanged. A cancellation goes by it.
- ``on_end`` runs when the application has returned or raised, and with it its background work. It runs for every
  entered layer, once, even if another one's raises. What such hooks raise becomes a note on the exception that is
  under way; if none is, it is raised: alone, or as a group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextvars import Token
from dataclasses import dataclass
from operator import length_hint
from traceback import format_exception
from typing import Any, Literal, NoReturn, TypeAlias, cast

from starlette.types import ASGIApp, Receive, Scope, Send

from bandmaster.kernel.errors import BodyTooLarge
from bandmaster.kernel.stack.exchange import CURRENT, Exchange, Response
from bandmaster.kernel.stack.messages import Hook, HTTPTraffic, Traffic, WebSocketTraffic

ErrorHook: TypeAlias = Callable[[Exchange, Exception], None]


class Frame:
    """Runs the hooks of its layers around an application, for one type of scope.

    ``inner`` says that the same chain has a frame further out, whose ``data`` is to be shared.
    """

    __slots__ = ("_app", "_entered", "_inner", "_observes", "_outside", "_requests", "_through", "_traffic", "layers")

    def __init__(
        self, layers: Sequence[object], app: ASGIApp, kind: Literal["http", "websocket"], *, inner: bool = False
    ) -> None:
        self.layers = tuple(layers)
        """The layers' instances, outermost first."""
        self._app = app
        self._inner = inner
        self._traffic: type[Traffic] = HTTPTraffic if kind == "http" else WebSocketTraffic
        self._entered = _entered(self.layers)
        places = [place for place, layer in enumerate(self.layers) if getattr(layer, "on_request", None) is not None]
        self._requests: tuple[Hook, ...] = tuple(cast("Any", self.layers[place]).on_request for place in places)
        # What is entered if that on_request raises, or answers: nothing is worked out per request.
        self._outside = tuple(_entered(self.layers[:place]) for place in places)
        self._through = tuple(_entered(self.layers[: place + 1]) for place in places)
        # Where no hook can see what passes, the application gets the server's own receive and send.
        self._observes = kind == "websocket" or self._entered != _entered(())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one WebSocket."""
        exchange = self._traffic(scope)
        if self._inner:
            _join(exchange)
        token = CURRENT.set(exchange)
        exchange.receive = receive
        exchange.send = send
        entered = self._entered
        hooks = iter(self._requests)
        try:
            for on_request in hooks:
                on_request(exchange)
                if exchange.answer is not None:
                    entered = self._through[self._place(hooks)]
                    break
            exchange.answerable = False
            exchange.starts = entered.starts
            if exchange.answer is not None:
                await exchange.deliver()
            elif self._observes or exchange.body_limit is not None:
                await self._app(scope, exchange.receiving, exchange.sending)
            else:
                await self._app(scope, receive, send)
        except BaseException as error:
            if exchange.answerable:
                entered = self._outside[self._place(hooks)]
            if not await _handled(exchange, error, entered, token):
                raise
        else:
            failures = _leave(exchange, entered.ends, token)
            if failures is not None:
                _raise(failures)

    def _place(self, hooks: Iterator[Hook]) -> int:
        # Counting backwards from what an iterator has left costs nothing while all goes well.
        return len(self._requests) - 1 - length_hint(hooks)


@dataclass(frozen=True, slots=True)
class _Entered:
    """The hooks of those layers that a request has entered, each kind innermost first."""

    starts: tuple[Hook, ...]
    errors: tuple[ErrorHook, ...]
    ends: tuple[Hook, ...]


_TOO_LARGE = Response(413, [(b"content-type", b"text/plain"), (b"content-length", b"17")], b"Content Too Large")


def _entered(layers: Sequence[object]) -> _Entered:
    def hooks(kind: str) -> tuple[Any, ...]:
        return tuple(hook for layer in reversed(layers) if (hook := getattr(layer, kind, None)) is not None)

    return _Entered(hooks("on_response_start"), hooks("on_error"), hooks("on_end"))


def _join(exchange: Exchange) -> None:
    outer = CURRENT.get(None)
    if outer is None:
        return
    # A layer between the two frames may have copied the scope, or run this in a context of some other request. A copy
    # still holds the request's own header list, or the state that servers copy for each request.
    ours, theirs = exchange.scope, outer.scope
    if ours is theirs or any(
        ours.get(key) is not None and ours[key] is theirs.get(key) for key in ("headers", "state")
    ):
        exchange.outer = outer
        exchange.data = outer.data


async def _handled(exchange: Traffic, error: BaseException, entered: _Entered, token: Token[Exchange]) -> bool:
    """Whether a hook has answered for what was raised; if not, it is to be raised on."""
    exchange.error = error
    exchange.starts = entered.starts
    exchange.answerable = False
    if exchange.outer is not None:
        exchange.outer.error = error
    failures: list[BaseException] = []
    answered = isinstance(error, Exception) and await _answered(exchange, error, entered.errors, failures)
    _leave(exchange, entered.ends, token, failures)
    if not answered and (not isinstance(error, Exception) or _first_fatal(failures) is None):
        _note(error, failures)
        return False
    if failures:
        _raise(failures)
    return True


async def _answered(
    exchange: Traffic, error: Exception, hooks: Sequence[ErrorHook], failures: list[BaseException]
) -> bool:
    if not exchange.started:
        exchange.status = None
    if exchange.says_that_the_client_has_gone(error):
        exchange.disconnected = True
        return False
    exchange.answer = None
    exchange.answerable = True
    for on_error in hooks:
        try:
            on_error(exchange, error)
        except BaseException as failure:  # noqa: BLE001 — reported with the exception that it was called for
            failures.append(failure)
        if exchange.answer is not None:
            break
    exchange.answerable = False
    if exchange.answer is None and isinstance(error, BodyTooLarge) and not exchange.started:
        exchange.answer = _TOO_LARGE
    if exchange.answer is None:
        return False
    try:
        await exchange.deliver()
    except BaseException as failure:  # noqa: BLE001 — likewise; a cancellation is raised when all ends have run
        failures.append(failure)
        return False
    return True


def _leave(
    exchange: Exchange, hooks: Sequence[Hook], token: Token[Exchange], failures: list[BaseException] | None = None
) -> list[BaseException] | None:
    for on_end in hooks:
        try:
            on_end(exchange)
        except BaseException as failure:  # noqa: BLE001 — the others' ends come first, then it is raised
            failures = [] if failures is None else failures
            failures.append(failure)
    # An exception leads to this request's frames, and they to the exchange.
    exchange.error = None
    try:
        CURRENT.reset(token)
    except ValueError:
        # A coroutine that is thrown away is closed in somebody else's context, where nothing was set.
        pass
    return failures


def _first_fatal(failures: list[BaseException]) -> BaseException | None:
    # A cancellation or an exit that arrives in a hook is meant for the task, and must come out as itself.
    return next((failure for failure in failures if not isinstance(failure, Exception)), None)


def _note(error: BaseException, failures: list[BaseException]) -> None:
    for failure in failures:
        if failure is not error:
            # Without its chain, which is what this is a note on.
            told = "".join(format_exception(failure, chain=False))
            error.add_note(f"A hook failed while this was under way:\n{told}")
    # Nobody's frame may hold what is raised through it.
    failures.clear()


def _raise(failures: list[BaseException]) -> NoReturn:
    error = _first_fatal(failures)
    if error is not None or len(failures) == 1:
        error = error or failures[0]
        _note(error, failures)
    else:
        error = BaseExceptionGroup("several hooks failed", failures)
        failures.clear()
    try:
        raise error
    finally:
        del error
