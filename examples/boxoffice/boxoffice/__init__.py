"""A box office: seats held, sold, and watched live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bandmaster.kernel import Application

    app: Application

__all__ = ["app"]


def __getattr__(name: str) -> Any:
    # Composed when it is asked for: importing a module must start nothing, and `bandmaster plugins` imports nothing.
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fastapi import FastAPI

    from bandmaster.kernel import create_app

    globals()["app"] = composed = create_app(FastAPI(title="Box office"))
    return composed
