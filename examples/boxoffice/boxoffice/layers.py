"""The layer that the box office adds to the request stack."""

from __future__ import annotations

from time import perf_counter

from bandmaster.kernel import Exchange, MiddlewareBand, middleware


@middleware(band=MiddlewareBand.OUTERMOST, scopes={"http"}, name="server_timing")
class ServerTiming:
    """Sends browsers the time until the response began (W3C Server Timing)."""

    def on_response_start(self, exchange: Exchange) -> None:
        milliseconds = (perf_counter() - exchange.began) * 1000
        exchange.add_header(b"server-timing", b"app;dur=%.1f" % milliseconds)
