"""Serve the routes of the box office by any host."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.routing import Match, Mount
from starlette.types import Scope

from bandmaster.contrib.web import install_problems


def adapt_routes(router: APIRouter, host: Any) -> Any:
    """The router for a FastAPI host; for any other host, a FastAPI app that is mounted behind the host's own routes."""
    if isinstance(host, FastAPI):
        return router
    app = FastAPI(title="Box office")
    app.include_router(router)
    install_problems(app)
    return [_Part("", app=app)]


class _Part(Mount):
    """An app at the root that leaves the paths that it doesn't know to the routes behind."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        if all(route.matches({**scope, **child})[0] is Match.NONE for route in self.routes):
            return Match.NONE, {}
        return match, child
