"""Recognise an exception that means only that the client has left.

This is the floor's one file that depends on internals of other packages: the names of Starlette's exceptions, and the
code objects in a traceback. `tests/kernel/stack/test_disconnects.py` fails where a new version changes them.
"""

from __future__ import annotations

from traceback import walk_tb
from types import CodeType

from starlette.types import Send

from bandmaster.kernel.stack.frame_exchange import FrameExchange

# By name, since importing starlette.requests and starlette.websockets takes longer than all of the kernel's modules.
DISCONNECTS = frozenset(
    (
        ("starlette.requests", "ClientDisconnect"),
        ("starlette.websockets", "WebSocketDisconnect"),
    )
)


def is_disconnect(error: Exception, send: Send) -> bool:
    """Whether an application's exception means only that the client has left; ``send`` is the server's."""
    if any((base.__module__, base.__name__) in DISCONNECTS for base in type(error).__mro__):
        return True
    # ASGI lets a server's send raise any OSError for it. A database may raise the same type, so the traceback must
    # lead through the server's send.
    if not isinstance(error, OSError):
        return False
    codes = {frame.f_code for frame, _ in walk_tb(error.__traceback__)}
    return _get_code(_find_servers_send(send)) in codes


def _find_servers_send(send: Send) -> Send:
    # The kernel's own wrappers, a frame further out among them, return the server's awaitable, and so leave no entry of
    # their own in the traceback.
    wrapper = getattr(send, "__self__", send)
    if not type(wrapper).__module__.startswith("bandmaster.kernel."):
        return send
    inner = wrapper.send if isinstance(wrapper, FrameExchange) else getattr(wrapper, "_send", None)
    return send if inner is None else _find_servers_send(inner)


def _get_code(send: Send) -> CodeType | None:
    # A function, a bound method, or an object with __call__.
    function = getattr(send, "__func__", send)
    return getattr(function, "__code__", None) or getattr(type(send).__call__, "__code__", None)
