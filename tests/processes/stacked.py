"""The site of the ASGI cases behind two frames of hooks, with a plain ASGI layer between them."""

from tests.asgi_wire import site

from bandmaster.kernel.contributions.bands import MiddlewareBand
from bandmaster.kernel.contributions.model import MiddlewareContribution
from bandmaster.kernel.stack.build import BoundLayer, build
from bandmaster.kernel.stack.headers import HeaderBlock


class AllHooks:
    block = HeaderBlock([(b"x-frame-options", b"DENY")])

    def on_request(self, exchange):
        exchange.data["host"] = exchange.header(b"host")
        exchange.limit_body(1_000_000)

    def on_response_start(self, exchange):
        exchange.set_header(b"x-request", b"1")
        exchange.default_headers(self.block)

    def on_error(self, exchange, error):
        exchange.data["error"] = error.args

    def on_end(self, exchange):
        exchange.data["status"] = exchange.status


class PassThrough:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app(dict(scope), receive, send)


app = build(
    [
        BoundLayer(MiddlewareContribution(name=f"layer{place}", layer=layer, band=MiddlewareBand.CONTEXT), {})
        for place, layer in enumerate([AllHooks, AllHooks, PassThrough, AllHooks])
    ],
    site,
)
