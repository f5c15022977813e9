"""Tests of bandmaster.kernel.contributions.layer_classes, and of MiddlewareContribution."""

import functools
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from tests.kernel.contributions.examples import POLICY, Adds, Database, Dispatches, Passes, layer, refused

from bandmaster.kernel import (
    MiddlewareBand,
    middleware,
)


class Inherits(Adds): ...


class InheritsCall(Passes): ...


class SwitchesOff(Passes):
    __call__ = None  # type: ignore[assignment]

    def on_end(self, exchange: object) -> None: ...


class Callable(type):
    def __call__(cls, *arguments: Any) -> Any:
        return super().__call__(*arguments)


class MadeByMeta(metaclass=Callable):
    def on_error(self, exchange: object, error: object) -> None: ...


class Static:
    @staticmethod
    def on_request(exchange: object) -> None: ...

    @classmethod
    def on_end(cls, exchange: object) -> None: ...

    on_error = functools.partialmethod(lambda self, exchange, error: None)


class Property:
    @property
    def on_request(self) -> Any:
        return print


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Adds, "hooks"),
        (Inherits, "hooks"),
        (Passes, "asgi"),
        (InheritsCall, "asgi"),
        (SwitchesOff, "hooks"),
        (MadeByMeta, "hooks"),
        (Static, "hooks"),
        (Property, "hooks"),
    ],
)
def test_the_form_of_a_layer(kind, expected):
    """Inherited members count, members of a metaclass don't, and None switches a member off."""
    assert expected == layer(layer=kind).form


def test_a_decorated_class_is_described():
    """The class gives name, description and origin; the arguments and their defaults give the rest."""
    made = middleware(band=POLICY)(Passes)
    assert ("Passes", Passes, POLICY, 350) == (made.name, made.layer, made.band, made.priority)
    assert "Passes everything on." == made.description
    assert f"in code, {Passes.__module__}:Passes" == str(made.provenance)
    assert ((), (), {"http", "websocket"}, {}) == (made.after, made.before, made.scopes, made.options)
    assert "" == middleware(band=POLICY)(InheritsCall).description


def test_every_argument_of_a_layer():
    """Each argument of the decorator sets the field of that name."""
    made = middleware(
        priority=301,
        name="it",
        after="a",
        before=["b"],
        scopes="http",
        options={"x": 1},
        allow_base_http_middleware=True,
        description="Does it.",
    )(Dispatches)
    assert ("it", 301, ("a",), ("b",), {"http"}, {"x": 1}, "Does it.") == (
        made.name,
        made.priority,
        made.after,
        made.before,
        made.scopes,
        made.options,
        made.description,
    )


class Both(Passes):
    def on_request(self, exchange: object) -> None: ...


class Async:
    async def on_request(self, exchange: object) -> None: ...


class AsyncStatic:
    @staticmethod
    async def on_request(exchange: object) -> None: ...


class AsyncClass:
    @classmethod
    async def on_end(cls, exchange: object) -> None: ...


class AsyncPartial:
    on_end = functools.partialmethod(Async.on_request)


class AsyncGenerator(Adds):
    async def on_end(self, exchange: object) -> AsyncIterator[None]:
        yield


class Generator:
    def on_end(self, exchange: object) -> Iterator[None]:
        yield


class Constant:
    on_request = 5


ASYNC = "is async; hooks are plain functions. Use the ASGI form"


def _type_name(value: object) -> str | None:
    # Not the message: one of them holds an address, and tests need the same name in every process.
    return getattr(value, "__name__", type(value).__name__) if not isinstance(value, str) else ""


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Both, "layer: Both has __call__ and on_request; a layer has one form, not both"),
        (Database, "layer: Database has neither __call__ nor any of on_request, on_response_start, on_end, on_error"),
        (Async, f"layer: Async.on_request {ASYNC}"),
        (AsyncStatic, f"layer: AsyncStatic.on_request {ASYNC}"),
        (AsyncClass, f"layer: AsyncClass.on_end {ASYNC}"),
        (AsyncPartial, f"layer: AsyncPartial.on_end {ASYNC}"),
        (AsyncGenerator, f"layer: AsyncGenerator.on_end {ASYNC}"),
        (Generator, f"layer: Generator.on_end is no plain function: {Generator.on_end!r}"),
        (Constant, "layer: Constant.on_request is no plain function: 5"),
        (print, f"layer: expected a class, got {print!r}"),
        (Passes(None), "layer: expected a class, got "),
        (None, "layer: expected a class, got None"),
    ],
    ids=_type_name,
)
def test_classes_that_are_no_layers(kind, expected):
    """A layer has one form, and hooks are plain functions."""
    for make in (lambda: layer(layer=kind), lambda: middleware(band=POLICY, name="it")(kind)):
        with pytest.raises(ValueError, match=f"^{re.escape(expected)}"):
            make()


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"scopes": []}, "scopes: expected some of 'http' and 'websocket', got []"),
        ({"scopes": "lifespan"}, "scopes: expected some of 'http' and 'websocket', got ['lifespan']"),
        ({"scopes": {"http", "ftp"}}, "scopes: expected some of 'http' and 'websocket', got ['ftp', 'http']"),
        ({"scopes": None}, "scopes: expected names, got None"),
        ({"scopes": [1]}, "scopes: expected names, got 1"),
        ({"options": 5}, "options: expected constructor arguments by name, got 5"),
        ({"options": {1: 2}}, "options: expected constructor arguments by name, got {1: 2}"),
        ({"after": 5}, "after: expected names, got 5"),
        ({"name": None}, "name: expected letters, digits, '_', '-' and '.', a letter or '_' first, got None"),
    ],
)
def test_fields_that_a_layer_refuses(fields, expected):
    """The message names the field, the value and the expected values."""
    refused(expected, layer, **fields)


@pytest.mark.requirement("CF-18", "FA-17")
def test_a_layer_stands_in_its_band():
    """A priority outside the band is refused when the contribution is made."""
    refused(
        "priority: 99 lies outside its band. Allowed: SECURITY 100–199", layer, band=MiddlewareBand(100), priority=99
    )


@pytest.mark.requirement("CF-17")
def test_base_http_middleware_is_refused_with_the_reason():
    """BaseHTTPMiddleware is accepted only if explicitly allowed, and for HTTP only."""
    refused(
        "layer: Dispatches is a starlette BaseHTTPMiddleware: it runs the app in a task of its own, loses trailers and "
        "context variables, and costs as much as 700 plain layers. Write it in hook form or as pure ASGI, or pass "
        "allow_base_http_middleware=True",
        layer,
        layer=Dispatches,
    )
    refused(
        "scopes: Dispatches is a starlette BaseHTTPMiddleware and serves only 'http'; pass scopes={'http'}",
        layer,
        layer=Dispatches,
        allow_base_http_middleware=True,
    )
    assert "asgi" == layer(layer=Dispatches, allow_base_http_middleware=True, scopes={"http"}).form


class Misspells(Adds):
    def on_reponse_start(self, exchange: object) -> None: ...


class MisspellsAll:
    def onRequest(self, exchange: object) -> None: ...


class MisspellsStatic(Adds):
    @staticmethod
    def on_ending(exchange: object) -> None: ...


class Inherited(MisspellsStatic): ...


class Strange(Adds):
    def on_the_moon(self) -> None: ...


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize(
    ("kind", "name", "defined", "hint"),
    [
        (Misspells, "on_reponse_start", Misspells.on_reponse_start, " Did you mean 'on_response_start'?"),
        (MisspellsAll, "onRequest", MisspellsAll.onRequest, " Did you mean 'on_request'?"),
        (Inherited, "on_ending", MisspellsStatic.on_ending, " Did you mean 'on_end'?"),
        (Strange, "on_the_moon", Strange.on_the_moon, ""),
    ],
)
def test_a_hook_that_nothing_calls(kind, name, defined, hint):
    """A method that is named like a hook is refused, also beside a hook, with its place and the hook that was meant."""
    refused(
        f"layer: {kind.__name__}.{name} is no hook, so nothing calls it "
        f"({__file__}:{defined.__code__.co_firstlineno}).{hint} Hooks are 'on_request', 'on_response_start', 'on_end' "
        "and 'on_error'; another method needs a name without on_",
        middleware(band=POLICY, name="it"),
        kind,
    )


class Switched(Misspells):
    on_reponse_start = None  # type: ignore[assignment]


class Data(Adds):
    on_sale = True
    on_hold: int = 3


class Unrelated(Passes):
    def on_message(self) -> None: ...


@pytest.mark.parametrize("kind", [Switched, Data, Unrelated])
def test_a_name_that_is_no_misspelt_hook(kind):
    """Values, members that are switched off, and methods of the ASGI form may have any name."""
    assert kind is layer(layer=kind).layer


class TakesNothing:
    def on_request(self) -> None: ...


class TakesNoError:
    def on_error(self, exchange: object) -> None: ...


class TakesTwo:
    @staticmethod
    def on_end(first: object, second: object) -> None: ...


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        (TakesNothing, "on_request", "'exchange': too many positional arguments"),
        (TakesNoError, "on_error", "'exchange' and 'error': too many positional arguments"),
        (TakesTwo, "on_end", "'exchange': missing a required argument: 'second'"),
    ],
)
def test_a_hook_with_other_parameters(kind, name, expected):
    """A hook that can't take the kernel's arguments is refused with a place, before the first request."""
    line = getattr(kind, name).__code__.co_firstlineno
    refused(
        f"layer: {kind.__name__}.{name} can't be called with {expected} ({__file__}:{line})",
        layer,
        layer=kind,
    )


def _wrap(function: Any) -> Any:
    @functools.wraps(function)
    def call(*arguments: Any) -> None: ...

    return call


class Wraps:
    @_wrap
    def on_request(self) -> None: ...

    on_end = staticmethod(functools.partial(print, end=""))
    on_error = staticmethod(type)


def test_hooks_whose_parameters_are_hidden():
    """Of a wrapper the wrapper's own parameters count, and compiled code may hide them."""
    assert "hooks" == layer(layer=Wraps).form
