"""The frame that runs the hooks of neighbouring layers around an application.

Hooks can rely on the following:

- A layer is entered when its ``on_request`` has returned; a layer without that hook, when all outer layers are
  entered. A layer whose ``on_request`` raises is not entered, as with a context manager's ``__enter__``.
- Every entered layer sees the start of the response, whether the application or a hook gave it, and the end.
- ``on_error`` sees the exception that the application raised, unless that means only that the client has left. The
  first hook that answers ends the search; without an answer, the exception is raised unchanged. A cancellation is not
  shown to ``on_error``.
- ``on_end`` runs when the application, with its background work, has returned or raised: once for every entered
  layer, also if the ``on_end`` of another layer raises. An exception of such a hook becomes a note on the exception
  that is being raised. If there is none, the exception of the hook is raised, and several are raised as a group.
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
from bandmaster.kernel.stack.disconnects import is_disconnect
from bandmaster.kernel.stack.exchange import CURRENT, Exchange
from bandmaster.kernel.stack.frame_exchange import FrameExchange, Hook, Response
from bandmaster.kernel.stack.messages import HTTPExchange, WebSocketExchange

ErrorHook: TypeAlias = Callable[[Exchange, Exception], None]


class Frame:
    """Runs the hooks of some layers around an application, for one type of scope.

    ``inner`` means that the same chain has a frame further out; the exchange of that frame has the ``data`` to share.
    """

    __slots__ = (
        "_app",
        "_exchange_type",
        "_hooks",
        "_hooks_outside",
        "_hooks_through",
        "_inner",
        "_observes",
        "_requests",
        "layers",
    )

    def __init__(
        self, layers: Sequence[object], app: ASGIApp, kind: Literal["http", "websocket"], *, inner: bool = False
    ) -> None:
        self.layers = tuple(layers)
        """The layers' instances, outermost first."""
        self._app = app
        self._inner = inner
        self._exchange_type: type[FrameExchange] = HTTPExchange if kind == "http" else WebSocketExchange
        self._hooks = _collect_hooks(self.layers)
        places = [place for place, layer in enumerate(self.layers) if getattr(layer, "on_request", None) is not None]
        self._requests: tuple[Hook, ...] = tuple(cast("Any", self.layers[place]).on_request for place in places)
        # The hooks of the entered layers, should that on_request raise, or answer: worked out once, not per request.
        self._hooks_outside = tuple(_collect_hooks(self.layers[:place]) for place in places)
        self._hooks_through = tuple(_collect_hooks(self.layers[: place + 1]) for place in places)
        # Where no hook can see the messages, the application gets the server's own receive and send.
        self._observes = kind == "websocket" or self._hooks != _collect_hooks(())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one WebSocket."""
        exchange = self._exchange_type(scope)
        if self._inner:
            _join_outer_frame(exchange)
        token = CURRENT.set(exchange)
        exchange.receive = receive
        exchange.send = send
        entered = self._hooks
        requests = iter(self._requests)
        try:
            for on_request in requests:
                on_request(exchange)
                if exchange.answer is not None:
                    entered = self._hooks_through[self._find_place(requests)]
                    break
            exchange.answerable = False
            exchange.start_hooks = entered.starts
            if exchange.answer is not None:
                await exchange.send_answer()
            elif self._observes or exchange.body_limit is not None:
                await self._app(scope, exchange.receive_for_app, exchange.send_for_app)
            else:
                await self._app(scope, receive, send)
        except BaseException as error:
            # Still answerable: it was an on_request that raised.
            if exchange.answerable:
                entered = self._hooks_outside[self._find_place(requests)]
            if not await _handle_error(exchange, error, entered, token):
                raise
        else:
            failures = _run_end_hooks(exchange, entered.ends, token)
            if failures is not None:
                _raise_failures(failures)

    def _find_place(self, requests: Iterator[Hook]) -> int:
        # From what is left of the iterator: a counter would cost every request, this costs only those that end here.
        return len(self._requests) - 1 - length_hint(requests)


@dataclass(frozen=True, slots=True)
class _Hooks:
    """The hooks of some layers, each kind innermost first."""

    starts: tuple[Hook, ...]
    errors: tuple[ErrorHook, ...]
    ends: tuple[Hook, ...]


_TOO_LARGE = Response(413, [(b"content-type", b"text/plain"), (b"content-length", b"17")], b"Content Too Large")


def _collect_hooks(layers: Sequence[object]) -> _Hooks:
    def collect(name: str) -> tuple[Any, ...]:
        return tuple(hook for layer in reversed(layers) if (hook := getattr(layer, name, None)) is not None)

    return _Hooks(collect("on_response_start"), collect("on_error"), collect("on_end"))


def _join_outer_frame(exchange: FrameExchange) -> None:
    outer = CURRENT.get(None)
    if outer is None:
        return
    # A layer between the two frames may have copied the scope, or serve another request in this context. A copy still
    # holds the request's own list of headers, or the state that servers copy for each request.
    scope, outer_scope = exchange.scope, outer.scope
    if scope is outer_scope or any(
        scope.get(key) is not None and scope[key] is outer_scope.get(key) for key in ("headers", "state")
    ):
        exchange.outer = outer
        exchange.data = outer.data


async def _handle_error(exchange: FrameExchange, error: BaseException, entered: _Hooks, token: Token[Exchange]) -> bool:
    """Call the hooks for an exception. Returns whether a hook has answered; otherwise the exception is to be raised."""
    exchange.error = error
    exchange.start_hooks = entered.starts
    exchange.answerable = False
    if exchange.outer is not None:
        exchange.outer.error = error
    failures: list[BaseException] = []
    answered = isinstance(error, Exception) and await _answer_error(exchange, error, entered.errors, failures)
    _run_end_hooks(exchange, entered.ends, token, failures)
    if not answered and (not isinstance(error, Exception) or _find_fatal(failures) is None):
        _add_notes(error, failures)
        return False
    if failures:
        _raise_failures(failures)
    return True


async def _answer_error(
    exchange: FrameExchange, error: Exception, hooks: Sequence[ErrorHook], failures: list[BaseException]
) -> bool:
    if not exchange.started:
        exchange.status = None
    if is_disconnect(error, exchange.send):
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
        await exchange.send_answer()
    except BaseException as failure:  # noqa: BLE001 — likewise; a cancellation is raised when all ends have run
        failures.append(failure)
        return False
    return True


def _run_end_hooks(
    exchange: Exchange, hooks: Sequence[Hook], token: Token[Exchange], failures: list[BaseException] | None = None
) -> list[BaseException] | None:
    for on_end in hooks:
        try:
            on_end(exchange)
        except BaseException as failure:  # noqa: BLE001 — raised when the other ends have run
            failures = [] if failures is None else failures
            failures.append(failure)
    # An exception refers to the frames of this request, and they to the exchange: a cycle.
    exchange.error = None
    try:
        CURRENT.reset(token)
    except ValueError:
        # A coroutine that is thrown away is closed in the context of other code, where the variable was never set.
        pass
    return failures


def _find_fatal(failures: list[BaseException]) -> BaseException | None:
    # A cancellation or an exit that arrives in a hook is meant for the task, and must be raised as it is.
    return next((failure for failure in failures if not isinstance(failure, Exception)), None)


def _add_notes(error: BaseException, failures: list[BaseException]) -> None:
    for failure in failures:
        if failure is not error:
            # Without the failure's chain, which leads to the very exception that gets this note.
            trace = "".join(format_exception(failure, chain=False))
            error.add_note(f"A hook failed while this was under way:\n{trace}")
    # The frames of a traceback hold their local variables: this list in them would make a cycle.
    failures.clear()


def _raise_failures(failures: list[BaseException]) -> NoReturn:
    error = _find_fatal(failures)
    if error is not None or len(failures) == 1:
        error = error or failures[0]
        _add_notes(error, failures)
    else:
        error = BaseExceptionGroup("several hooks failed", failures)
        failures.clear()
    try:
        raise error
    finally:
        del error
