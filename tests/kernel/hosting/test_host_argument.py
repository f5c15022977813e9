"""Tests of bandmaster.kernel.hosting.host_argument."""

import functools
import re
from unittest.mock import AsyncMock

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware.cors import CORSMiddleware

from bandmaster.kernel import Kernel, LifespanBand, create_app, lifespan, value
from bandmaster.kernel.hosting.host_argument import check_host

HERE = re.escape(__file__)


@lifespan(band=LifespanBand.SERVICES)
async def database():
    yield


async def undecorated():
    yield


def make():
    return FastAPI()


def needs(app):
    return app


class Simple:
    async def __call__(self, scope, receive, send): ...


class Old:
    def __call__(self, scope): ...


KERNEL = Kernel(discover=False)


@pytest.mark.requirement("P-18")
@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (
            database,
            (
                "'database' is a LifespanContribution, not an ASGI app. Parts are given by name: "
                "create_app(contributions=[database])"
            ),
        ),
        (
            value(5, name="vat-rate"),
            (
                "'vat-rate' is a ValueContribution, not an ASGI app. Parts are given by name: "
                "create_app(contributions=[...])"
            ),
        ),
        (
            [database],
            "expected an ASGI app, got a list of contributions. They are given by name: contributions=[...]",
        ),
        (
            "shop.main:app",
            (
                "expected an ASGI app, got the text 'shop.main:app'. Import the app and pass the object; a command "
                "takes such text: bandmaster run shop.main:app"
            ),
        ),
        ("shop", "expected an ASGI app, got the text 'shop'. Import the app and pass the object"),
        (
            KERNEL.plan,
            "expected an ASGI app, got a Plan. create_app makes the plan: pass its parts as contributions=[...]",
        ),
        (KERNEL, "expected an ASGI app, got a Kernel. Make one of both: Application(kernel, host)"),
        ([1], "expected an ASGI app, got a list"),
        (FastAPI, "FastAPI is a class. Make an app of it: FastAPI(...)"),
        (Simple, "Simple is a class. Make an app of it: Simple(...)"),
        (
            undecorated,
            (
                "undecorated is an async generator function. Is it a component? Decorate it with @lifespan(band=...), "
                "and pass it as contributions=[undecorated]"
            ),
        ),
        (
            make,
            "the function make() can't be called with scope, receive and send. Is it a factory? Call it: make()",
        ),
        (
            needs,
            (
                "the function needs(app) can't be called with scope, receive and send. Is it a factory? Call it: "
                "needs(...)"
            ),
        ),
        (Old(), "an Old can't be called with scope, receive and send"),
    ],
)
def test_a_host_that_is_no_app(host, expected):
    """An object that can't be an ASGI app is refused with the line of the call, and with a valid alternative."""
    with pytest.raises(ValueError, match=rf"^host: {re.escape(expected)} \({HERE}:\d+\)$"):
        create_app(host, discover=False)


class Meta(type):
    async def __call__(cls, scope, receive, send): ...


class ByMeta(metaclass=Meta): ...


class ByNew:
    def __new__(cls, scope, receive, send): ...


@functools.wraps(make)
async def wrapped(scope, receive, send): ...


def with_signature(*arguments): ...


with_signature.__signature__ = None


async def three(scope, receive, send, *, shade="dark"): ...


@pytest.mark.parametrize(
    "host",
    [
        None,
        FastAPI(),
        Starlette(),
        APIRouter(),
        CORSMiddleware(Starlette()),
        Simple(),
        HTTPEndpoint,
        ByMeta,
        ByNew,
        wrapped,
        with_signature,
        three,
        functools.partial(three, shade="light"),
        AsyncMock(),
        dict.pop,
        dict,
    ],
)
def test_a_host_that_may_be_an_app(host):
    """Only an object that certainly can't be called as an ASGI app is refused."""
    check_host(host)
