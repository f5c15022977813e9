"""The box office, an example application: it holds seats, sells them, and shows every change live."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bandmaster.kernel import Application

__all__ = ["app"]


def app() -> Application:
    """Compose the application: a FastAPI host and every installed part.

    The imports stand here because each of the box office's own modules imports this package first, and whoever only
    describes those parts needs no FastAPI.
    """
    from fastapi import FastAPI

    from bandmaster.kernel import create_app

    return create_app(FastAPI(title="Box office"))
