"""Socket.IO mounted in an app and wrapped around the same app, so that the app gets the lifespan scope twice."""

from contextlib import asynccontextmanager

import socketio
from fastapi import FastAPI
from tests.kernel.hosting.programs.running import run


@asynccontextmanager
async def lifespan(app):
    print("pool opens")
    yield
    print("pool closes")


host = FastAPI(lifespan=lifespan)
host.mount("/", socketio.ASGIApp(socketio.AsyncServer(async_mode="asgi"), host))


def ask(client):
    """Ask for a Socket.IO session."""
    print("status", client.get("/socket.io/?EIO=4&transport=polling").status_code)


if __name__ == "__main__":
    run(host, ask)
