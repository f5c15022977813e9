"""The trust boundary: whose trace, sampling and baggage a request takes over (OBS-T5)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tests.contrib.tracing.apps import compose
from tests.contrib.tracing.receiver import Receiver

from bandmaster.contrib.tracing.propagation.trust import compile_callers
from bandmaster.kernel.testing import run

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"


async def show_baggage(request: Request) -> Response:
    return JSONResponse(dict(baggage.get_all()))


async def call(receiver: Receiver, traceparent: str, **settings: Any) -> Any:
    app = Starlette(routes=[Route("/", show_baggage)])
    async with run(compose(app, receiver.url, **settings)) as running:
        response = await running.client.get("/", headers={"traceparent": traceparent, "baggage": "user=ada"})
    return response.json()


@pytest.mark.anyio
@pytest.mark.requirement("OBS-T5")
async def test_a_stranger_gets_a_trace_of_their_own(receiver: Receiver) -> None:
    """The span of an untrusted caller's request is a root that links to the caller's, without the baggage (OBS-T5)."""
    assert await call(receiver, SAMPLED) == {}
    (span,) = receiver.wait_for_spans(1)
    assert span.trace_id != TRACE
    assert span.parent_id == ""
    assert [(link.trace_id, link.span_id) for link in span.links] == [(TRACE, PARENT)]


@pytest.mark.anyio
@pytest.mark.requirement("OBS-T5", "OB-8", "CF-11")
@pytest.mark.parametrize(("traceparent", "rate", "recorded"), [(UNSAMPLED, 1, True), (SAMPLED, 0, False)])
async def test_a_stranger_decides_nothing(receiver: Receiver, traceparent: str, rate: float, recorded: bool) -> None:
    """Neither does an untrusted sampled flag make spans, nor does a missing one suppress them (OBS-T5)."""
    await call(receiver, traceparent, sample_rate=rate)
    assert (len(receiver.spans) == 1) is recorded


@pytest.mark.anyio
@pytest.mark.requirement("OBS-T5")
@pytest.mark.parametrize("trusted", [("*",), ("127.0.0.0/8",), ("::1", "127.0.0.1")])
async def test_a_trusted_caller_goes_on_with_the_trace(receiver: Receiver, trusted: tuple[str, ...]) -> None:
    """The span is a child of the caller's, and the baggage arrives (OBS-T5)."""
    assert await call(receiver, SAMPLED, trusted_callers=trusted, sample_rate=0) == {"user": "ada"}
    (span,) = receiver.wait_for_spans(1)
    assert (span.trace_id, span.parent_id, span.links) == (TRACE, PARENT, ())


@pytest.mark.anyio
@pytest.mark.requirement("OBS-T5", "OB-8")
async def test_the_decision_of_a_trusted_caller_stands(receiver: Receiver) -> None:
    """A trace that a trusted caller doesn't record isn't recorded here."""
    await call(receiver, UNSAMPLED, trusted_callers=("*",))
    assert receiver.spans == []


def test_addresses_and_networks_of_both_versions() -> None:
    """An IPv4 address that a socket of IPv6 reports belongs to the network of IPv4."""
    trusts = compile_callers(("10.0.0.0/8", "2001:db8::/32", "192.0.2.7"))
    yes = ("10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1", "192.0.2.7")
    no = ("11.0.0.1", "192.0.2.8", "2001:db9::1", "not an address", "", None)
    assert [trusts(address) for address in (*yes, *no)] == [True] * 4 + [False] * 6


def test_callers_without_an_address_are_trusted_by_name() -> None:
    """A Unix socket reports no address."""
    assert compile_callers(("unix",))(None)
    assert not compile_callers(("unix",))("127.0.0.1")
    assert not compile_callers(())(None)
    assert compile_callers(("*",))("203.0.113.7")


@given(st.text() | st.none())
def test_nobody_is_trusted_by_default(address: str | None) -> None:
    """Without the setting, no address is trusted, whatever the server reports."""
    assert not compile_callers(())(address)
