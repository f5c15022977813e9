"""Explain why an application serves no requests. Pure."""

from __future__ import annotations

from bandmaster.kernel.lifecycle.phases import Phase

NEVER_STARTED = """the application was never started, so every request is answered with 503. Run its lifespan:
  - Starlette's TestClient: use it as a context manager, `with TestClient(app) as client:`
  - httpx.ASGITransport: enter `async with app.running():` around the client; bandmaster.kernel.testing does both
  - uvicorn: leave out --lifespan off; granian: use --interface asgi; Mangum: leave out lifespan="off"
  - mounted in another application: enter `async with app.running():` in the lifespan of that application, or pass
    that application to create_app as the host"""
"""The warning of an application that gets a request and was never started."""

_DETAILS = {
    Phase.NEW: "The application is starting.",
    Phase.STARTING: "The application is starting.",
    Phase.STOPPED: "The application has stopped.",
    Phase.FAILED: "The application isn't running: its last run has failed.",
}


def describe_absence(phase: Phase, *, was_started: bool) -> str:
    """A sentence for clients: why an application doesn't serve. ``phase`` is the phase of its kernel."""
    if not was_started:
        return "The application was never started: nothing has run its lifespan."
    return _DETAILS.get(phase, "The application is stopping.")
