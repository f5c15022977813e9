"""The site of the ASGI traps behind the layers of the web package: each alone, and all together, on a port of its own.

The variables NAMES and PORTS say which; run as a program, it serves them with uvicorn.
"""

import os
import socket
import sys
from contextlib import AsyncExitStack
from importlib.metadata import distribution

from tests.asgi_wire import site

from bandmaster.contrib.web import WebSettings
from bandmaster.kernel import MiddlewareContribution, create_app

WEB = [point.load() for point in distribution("bandmaster-web").entry_points]
LAYERS = sorted((part for part in WEB if isinstance(part, MiddlewareContribution)), key=lambda part: part.name)
# These watch no response, so that the traps don't see what only a frame that does has: an exchange, and headers where the
# application sends none, without which granian refuses its message.
WATCHING = [part for part in LAYERS if part.name == "request_context"]
BESIDE = {"request_timeout": WATCHING, "trusted_host": WATCHING, "websocket_origin": WATCHING}
VARIANTS = {"all": WEB, **{part.name: [part, *BESIDE.get(part.name, ())] for part in LAYERS}}
SETTINGS = WebSettings(
    trust_request_id=True,
    cors_origins=("https://shop.example",),
    max_body_bytes=1_000_000,
    request_timeout=float(os.environ.get("REQUEST_TIMEOUT", "20")),
)


def _composed(parts):
    return create_app(site, contributions=parts, discover=False, overrides={WebSettings: SETTINGS})


NAMES, PORTS = (os.environ[variable].split() for variable in ("NAMES", "PORTS"))
apps = {int(port): _composed(VARIANTS[name]) for name, port in zip(NAMES, PORTS, strict=True)}


async def app(scope, receive, send):
    """The variant of the port that was asked."""
    if scope["type"] == "lifespan":
        await receive()
        async with AsyncExitStack() as stack:
            for each in apps.values():
                await stack.enter_async_context(each.running())
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})
    else:
        # A number, as ASGI has it; granian says it in words.
        await apps[int(scope["server"][1])](scope, receive, send)


if __name__ == "__main__":
    import uvicorn

    sockets = []
    for number in apps:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", number))
        sockets.append(listening)
    uvicorn.Server(uvicorn.Config(app, http=sys.argv[1], access_log=False)).run(sockets)
