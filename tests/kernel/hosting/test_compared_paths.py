"""Tests of bandmaster.kernel.hosting.compared_paths."""

import warnings

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.routing import Host, Mount

from bandmaster.kernel import MiddlewareBand, PlanError, create_app, middleware
from bandmaster.kernel.testing import run

pytestmark = pytest.mark.anyio


@middleware(band=MiddlewareBand.SECURITY, compares_paths=True)
class Guard:
    def on_request(self, exchange):
        """Nothing."""


@middleware(band=MiddlewareBand.SECURITY)
class Counter:
    def on_request(self, exchange):
        """Nothing."""


def make_fastapi(root_path="/api"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return FastAPI(root_path=root_path)


def compose(host, layer=Guard):
    return create_app(host, contributions=[layer], discover=False)


def include(app):
    router = APIRouter()
    router.mount("/inside", app)
    host = FastAPI()
    host.include_router(router, prefix="/v1")
    return host


@pytest.mark.parametrize(
    "place",
    [
        lambda app: Starlette(routes=[Mount("/", app)]),
        lambda app: Starlette(routes=[Host("api.example", app)]),
        lambda app: Starlette(routes=[Mount("/a", routes=[Mount("/b", app)])]),
        include,
        lambda app: Starlette(routes=[Mount("/nested", create_app(app, discover=False))]),
    ],
)
def test_a_mounted_app_with_a_root_path(place):
    """The application isn't composed, wherever the app is mounted. The message names the layer and the app."""
    with pytest.raises(PlanError, match=r"has root_path='/api'.* so that 'Guard' would compare other paths"):
        compose(place(make_fastapi()))
    compose(place(make_fastapi("")))
    compose(place(make_fastapi()), Counter)


async def test_an_app_that_is_mounted_while_starting():
    """The host's own lifespan may mount apps; the start is refused then."""
    host = FastAPI()
    app = compose(host)
    host.mount("/", make_fastapi())
    with pytest.raises(PlanError, match="has root_path='/api'"):
        async with run(app):
            pass


def test_the_root_path_of_the_host():
    """The host's own is known before the layers."""
    compose(make_fastapi())
