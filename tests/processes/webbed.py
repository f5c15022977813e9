"""The site of the ASGI cases behind the web layers: each layer alone, and all together, with a port for each variant.

The variables NAMES and PORTS select the variants. Run as a program, this serves them with uvicorn.
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
# The cases expect an exchange, and granian expects headers in every response. Only a frame with a hook for responses
# provides both, and these layers have no such hook, so that another layer stands beside them.
WITH_RESPONSE_HOOK = [part for part in LAYERS if part.name == "request_context"]
BESIDE = dict.fromkeys(("request_timeout", "trusted_host", "websocket_origin"), WITH_RESPONSE_HOOK)
VARIANTS = {"all": WEB, "hurried": WEB, **{part.name: [part, *BESIDE.get(part.name, ())] for part in LAYERS}}


def compose_variant(name):
    settings = WebSettings(
        trust_request_id=True,
        cors_origins=("https://shop.example",),
        max_body_bytes=1_000_000,
        # On a busy machine a request may take long, so that only the variant for the timeout itself has a short one.
        request_timeout=0.5 if name == "hurried" else 120,
    )
    return create_app(site, contributions=VARIANTS[name], discover=False, overrides={WebSettings: settings})


NAMES, PORTS = (os.environ[variable].split() for variable in ("NAMES", "PORTS"))
apps = {int(port): compose_variant(name) for name, port in zip(NAMES, PORTS, strict=True)}


async def app(scope, receive, send):
    """The application of the variant that belongs to the port."""
    if scope["type"] == "lifespan":
        await receive()
        async with AsyncExitStack() as stack:
            for each in apps.values():
                await stack.enter_async_context(each.running())
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})
    else:
        # ASGI wants a number, but granian sends the port as text.
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
