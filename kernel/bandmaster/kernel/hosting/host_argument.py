"""Check the host that an application is composed around."""

from __future__ import annotations

import inspect
from typing import Any

from bandmaster.kernel.contributions.factories import read_name
from bandmaster.kernel.contributions.model import Contribution
from bandmaster.kernel.imports import describe_object, split_reference
from bandmaster.kernel.lifecycle.kernel import Kernel
from bandmaster.kernel.planning.plan import Plan
from bandmaster.kernel.tracebacks import find_caller


def check_host(host: Any) -> None:
    """Refuse a host that certainly is no ASGI app.

    Raises:
        ValueError: the host can't be called with scope, receive and send; the message has the file and line of the
            call, and the right argument.
    """
    if host is None:
        return
    if fault := _find_fault(host):
        raise ValueError(f"host: {fault} ({find_caller()})")


def _find_fault(host: Any) -> str:
    if isinstance(host, Contribution):
        return (
            f"{host.name!r} is a {type(host).__name__}, not an ASGI app. Parts are given by name: "
            f"create_app(contributions=[{host.name if host.name.isidentifier() else '...'}])"
        )
    if isinstance(host, list | tuple | set) and any(isinstance(part, Contribution) for part in host):
        return "expected an ASGI app, got a list of contributions. They are given by name: contributions=[...]"
    if isinstance(host, str):
        hint = "Import the app and pass the object"
        hint += f"; a command takes such text: bandmaster run {host}" if split_reference(host) else ""
        return f"expected an ASGI app, got the text {host!r}. {hint}"
    if isinstance(host, Plan):
        return "expected an ASGI app, got a Plan. create_app makes the plan: pass its parts as contributions=[...]"
    if isinstance(host, Kernel):
        return "expected an ASGI app, got a Kernel. Make one of both: Application(kernel, host)"
    if not callable(host):
        return f"expected an ASGI app, got {describe_object(host)}"
    if isinstance(host, type):
        return "" if _makes_awaitables(host) else f"{host.__name__} is a class. Make an app of it: {host.__name__}(...)"
    if inspect.isasyncgenfunction(host):
        name = read_name(host)
        return (
            f"{name} is an async generator function. Is it a component? Decorate it with @lifespan(band=...), and "
            f"pass it as contributions=[{name}]"
        )
    if not _takes_request(host):
        arguments = "" if inspect.isroutine(host) and not inspect.signature(host).parameters else "..."
        called = f". Is it a factory? Call it: {read_name(host)}({arguments})" if inspect.isroutine(host) else ""
        return f"{describe_object(host)} can't be called with scope, receive and send{called}"
    return ""


def _makes_awaitables(kind: type[Any]) -> bool:
    """Whether a call of a class may return something to await, as that of Starlette's ``HTTPEndpoint`` does."""
    made: Any = kind  # Any, so that mypy lets the methods be compared
    return hasattr(made, "__await__") or made.__new__ is not object.__new__ or type(made).__call__ is not type.__call__


def _takes_request(host: Any) -> bool:
    # A wrapper may show the signature of the function inside.
    if hasattr(host, "__wrapped__") or hasattr(host, "__signature__"):
        return True
    try:
        inspect.signature(host).bind("scope", "receive", "send")
    except TypeError:
        return False
    except ValueError:  # compiled code may hide its signature
        return True
    return True
