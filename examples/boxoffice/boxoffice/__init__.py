"""The box office, an example application: buyers hold seats, buy them and watch every change live."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bandmaster.kernel import Application

__all__ = ["app"]


def app() -> Application:
    """Compose the application: a FastAPI host and every installed part."""
    # Importing any module of the box office imports this package first, and describing its parts needs no FastAPI.
    from fastapi import FastAPI

    from bandmaster.kernel import create_app

    return create_app(FastAPI(title="Box office"))
