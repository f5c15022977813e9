"""A FastAPI application with a route for everybody and a route for those with a scope."""

from __future__ import annotations

from importlib.metadata import distribution
from typing import Annotated

from fastapi import Depends, FastAPI

from bandmaster.contrib.oidc import Principal, require
from bandmaster.kernel import Application, create_app

GROUPS = {f"bandmaster.{kind}" for kind in ("lifespan", "values", "middleware", "routes", "error_handlers")}


def app() -> Application:
    """Compose the application."""
    host = FastAPI(title="Shop")

    @host.get("/open")
    async def everybody() -> dict[str, str]:
        return {"hello": "everybody"}

    @host.get("/orders")
    async def orders(reader: Annotated[Principal, Depends(require("read"))]) -> dict[str, str]:
        return {"hello": reader.subject}

    parts = [
        point.load()
        for name in ("http", "web", "fastapi", "oidc")
        for point in distribution(f"bandmaster-{name}").entry_points
        if point.group in GROUPS
    ]
    return create_app(host, contributions=parts, discover=False)
