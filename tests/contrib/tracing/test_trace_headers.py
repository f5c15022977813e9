"""The headers of W3C Trace Context: the cases of the W3C's own test harness, in our words, and laws beyond them.

Each test of the harness (w3c/trace-context, ``test/test.py``, 41 tests at level 2) has an entry here, under its name.
The harness sends a request with some headers to a service, and looks at the headers of the calls that the service
makes in turn; so does `forward`, through the tracing layer and the propagator.
"""

from __future__ import annotations

import string
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider

from bandmaster.contrib.tracing import TracingSettings
from bandmaster.contrib.tracing.propagation.choice import make_propagator
from bandmaster.contrib.tracing.propagation.trace_headers import (
    parse_traceparent,
    parse_tracestate,
    render_traceparent,
    render_tracestate,
)
from bandmaster.contrib.tracing.requests.layer import TracingLayer

TRACE = "12345678901234567890123456789012"
PARENT = "1234567890123456"
VALID = f"00-{TRACE}-{PARENT}-01"
UNSAMPLED = f"00-{TRACE}-{PARENT}-00"
PROPAGATOR = make_propagator("tracecontext,baggage")
LAYER: Any = getattr(TracingLayer, "layer", TracingLayer)
"""The class of the layer."""

Headers = list[tuple[str, str]]


def forward(headers: Headers, calls: int = 1) -> list[dict[str, str]]:
    """Send a request with these headers to a service that trusts everybody; the headers of the calls that it makes."""
    provider = TracerProvider(shutdown_on_exit=False)
    tracer = provider.get_tracer("client")
    made: list[dict[str, str]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(calls):
            with tracer.start_as_current_span("call"):
                outgoing: dict[str, str] = {}
                PROPAGATOR.inject(outgoing)
                made.append(outgoing)

    async def nothing(*_: Any) -> Any:
        return None

    layer = LAYER(app, TracingSettings(trusted_callers=("*",)), provider, PROPAGATOR)
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    scope = {"type": "http", "method": "POST", "path": "/test", "headers": raw, "client": ("127.0.0.1", 5)}
    anyio.run(layer, scope, nothing, nothing)
    return made


def get_trace(headers: Headers) -> str:
    """The trace id of the call that follows."""
    (outgoing,) = forward(headers)
    return outgoing["traceparent"].split("-")[1]


def get_state(headers: Headers, parent: str = UNSAMPLED) -> dict[str, str]:
    """The members of the trace state of the call that follows, in their order."""
    (outgoing,) = forward([("traceparent", parent), *headers])
    assert outgoing["traceparent"].split("-")[1] == TRACE
    return dict(member.split("=", 1) for member in outgoing.get("tracestate", "").split(",") if member)


REFUSED = {
    "traceparent_header_name": [[("trace-parent", VALID)], [("trace.parent", VALID)]],
    "traceparent_duplicated": [[("traceparent", VALID), ("traceparent", VALID.replace("9012-", "9011-"))]],
    "traceparent_version_0x00": [[("traceparent", f"{VALID}.")], [("traceparent", f"{VALID}-what-comes-later")]],
    "traceparent_version_0xcc": [[("traceparent", f"cc{VALID[2:]}.what-comes-later")]],
    "traceparent_version_0xff": [[("traceparent", f"ff{VALID[2:]}")]],
    "traceparent_version_illegal_characters": [[("traceparent", f"{v}{VALID[2:]}")] for v in (".0", "0.")],
    "traceparent_version_too_long": [[("traceparent", f"0{VALID}")], [("traceparent", f"00{VALID}")]],
    "traceparent_version_too_short": [[("traceparent", VALID[1:])]],
    "traceparent_trace_id_all_zero": [[("traceparent", f"00-{'0' * 32}-{PARENT}-01")]],
    "traceparent_trace_id_illegal_characters": [
        [("traceparent", f"00-.{TRACE[1:]}-{PARENT}-01")],
        [("traceparent", f"00-{TRACE[:-1]}.-{PARENT}-01")],
    ],
    "traceparent_trace_id_too_long": [[("traceparent", f"00-{TRACE}3-{PARENT}-01")]],
    "traceparent_trace_id_too_short": [[("traceparent", f"00-{TRACE[:-1]}-{PARENT}-01")]],
    "traceparent_parent_id_all_zero": [[("traceparent", f"00-{TRACE}-{'0' * 16}-01")]],
    "traceparent_parent_id_illegal_characters": [
        [("traceparent", f"00-{TRACE}-.{PARENT[1:]}-01")],
        [("traceparent", f"00-{TRACE}-{PARENT[:-1]}.-01")],
    ],
    "traceparent_parent_id_too_long": [[("traceparent", f"00-{TRACE}-{PARENT}7-01")]],
    "traceparent_parent_id_too_short": [[("traceparent", f"00-{TRACE}-{PARENT[:-1]}-01")]],
    "traceparent_trace_flags_illegal_characters": [[("traceparent", f"{VALID[:-2]}{f}")] for f in (".0", "0.")],
    "traceparent_trace_flags_too_long": [[("traceparent", f"{VALID[:-2]}001")]],
    "traceparent_trace_flags_too_short": [[("traceparent", f"{VALID[:-2]}1")]],
}
ACCEPTED = {
    "traceparent_included_tracestate_missing": [[("traceparent", VALID)]],
    "traceparent_header_name_valid_casing": [[(name, VALID)] for name in ("TraceParent", "TrAcEpArEnT", "TRACEPARENT")],
    "traceparent_version_0xcc": [[("traceparent", f"cc{VALID[2:]}{rest}")] for rest in ("", "-what-comes-later")],
    "traceparent_ows_handling": [
        [("traceparent", text)] for text in (f" {VALID}", f"\t{VALID}", f"{VALID} ", f"{VALID}\t", f"\t {VALID} \t")
    ],
}


@pytest.mark.requirement("OB-4", "CF-40")
@pytest.mark.parametrize("headers", [each for cases in REFUSED.values() for each in cases], ids=str)
def test_an_invalid_traceparent_begins_a_new_trace(headers: Headers) -> None:
    """A request whose header is malformed, or there twice, doesn't go on with the trace that it names."""
    assert TRACE not in get_trace(headers)
    assert int(get_trace(headers), 16) != 0


@pytest.mark.requirement("OB-4", "CF-40")
@pytest.mark.parametrize("headers", [each for cases in ACCEPTED.values() for each in cases], ids=str)
def test_a_valid_traceparent_is_gone_on_with(headers: Headers) -> None:
    """The call has the same trace, and another parent."""
    (outgoing,) = forward(headers)
    _, trace, parent, _ = outgoing["traceparent"].split("-")
    assert (trace, parent != PARENT) == (TRACE, True)


def test_both_traceparent_and_tracestate_missing() -> None:
    """A request without the headers begins a trace."""
    (outgoing,) = forward([])
    assert parse_traceparent([outgoing["traceparent"]]) is not None


def test_tracestate_included_traceparent_missing() -> None:
    """A trace state without a trace is dropped."""
    (outgoing,) = forward([("tracestate", "foo=1,bar=2")])
    assert "tracestate" not in outgoing


def test_tracestate_included_traceparent_included() -> None:
    """A trace state goes on with its trace."""
    assert get_state([("tracestate", "foo=1,bar=2")]) == {"foo": "1", "bar": "2"}


@pytest.mark.parametrize("name", ["trace-state", "trace.state"])
def test_tracestate_header_name(name: str) -> None:
    """Another header is no trace state."""
    assert get_state([(name, "foo=1")]) == {}


@pytest.mark.parametrize("name", ["TraceState", "TrAcEsTaTe", "TRACESTATE"])
def test_tracestate_header_name_valid_casing(name: str) -> None:
    """Names of headers have no case."""
    assert get_state([(name, "foo=1")]) == {"foo": "1"}


@pytest.mark.parametrize(
    ("values", "expected"), [([""], {}), (["foo=1", ""], {"foo": "1"}), (["", "foo=1"], {"foo": "1"})]
)
def test_tracestate_empty_header(values: list[str], expected: dict[str, str]) -> None:
    """An empty header has no members."""
    assert get_state([("tracestate", value) for value in values]) == expected


def test_tracestate_multiple_headers_different_keys() -> None:
    """Several headers are one list, in their order."""
    headers = [("tracestate", value) for value in ("foo=1,bar=2", "rojo=1,congo=2", "baz=3")]
    assert list(get_state(headers)) == ["foo", "bar", "rojo", "congo", "baz"]


@pytest.mark.parametrize("values", [["foo=1,foo=1"], ["foo=1,foo=2"], ["foo=1", "foo=1"], ["foo=1", "foo=2"]], ids=str)
def test_tracestate_duplicated_keys(values: list[str]) -> None:
    """Of two members with one key the first stays."""
    assert get_state([("tracestate", value) for value in values]) == {"foo": "1"}


VALUE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in ",=")
KEY = f"{string.ascii_lowercase}{string.digits}_-*/"


@pytest.mark.parametrize("key", [KEY, f"{KEY}@a-z0-9_-*/"])
def test_tracestate_all_allowed_characters(key: str) -> None:
    """Every character that a key or a value may have comes through."""
    assert get_state([("tracestate", f"{key}={VALUE}")]) == {key: VALUE}


@pytest.mark.parametrize(
    "value",
    ["foo=1 \t , \t bar=2, \t baz=3", "foo=1\t \t,\t \tbar=2,\t \tbaz=3", " foo=1,bar=2,baz=3", "foo=1,bar=2,baz=3\t"],
)
def test_tracestate_ows_handling(value: str) -> None:
    """Blanks around members are none of theirs."""
    assert get_state([("tracestate", value)]) == {"foo": "1", "bar": "2", "baz": "3"}


@pytest.mark.parametrize("key", ["foo ", "FOO", "foo.bar"])
def test_tracestate_key_illegal_characters(key: str) -> None:
    """A key with another character makes the whole list invalid."""
    assert get_state([("tracestate", f"{key}=1,bar=2")]) == {}


def test_tracestate_key_illegal_vendor_format() -> None:
    """At signs may stand anywhere but at the beginning (level 2)."""
    for key in ("foo@", "foo@@bar", "foo@bar@baz"):
        assert get_state([("tracestate", f"{key}=1,bar=2")]) == {key: "1", "bar": "2"}
    assert get_state([("tracestate", "@foo=1,bar=2")]) == {}


def test_tracestate_member_count_limit() -> None:
    """32 members are a list, 33 are none."""
    members = [f"bar{number:02}={number:02}" for number in range(1, 34)]
    headers = [("tracestate", ",".join(members[start : start + 10])) for start in (0, 10, 20)]
    assert len(get_state([*headers, ("tracestate", ",".join(members[30:32]))])) == 32
    assert get_state([*headers, ("tracestate", ",".join(members[30:33]))]) == {}


def test_tracestate_key_length_limit() -> None:
    """A key has 256 characters at the most, wherever at signs are in it."""
    for key in ("z" * 256, "t" * 241 + "@" + "v" * 14, "t" * 242 + "@v", "t@" + "v" * 15):
        assert get_state([("tracestate", "foo=1"), ("tracestate", f"{key}=1")]) == {"foo": "1", key: "1"}
    assert get_state([("tracestate", "foo=1"), ("tracestate", f"{'z' * 257}=1")]) == {}


@pytest.mark.parametrize("value", ["foo=bar=baz", "foo=,bar=3"])
def test_tracestate_value_illegal_characters(value: str) -> None:
    """A value with an equals sign, or of no characters, makes the whole list invalid."""
    assert get_state([("tracestate", value)]) == {}


@pytest.mark.parametrize(
    ("headers", "goes_on"),
    [([("traceparent", VALID)], True), ([], False), ([("traceparent", f"00-{'0' * 55}")], False)],
)
def test_multiple_requests(headers: Headers, goes_on: bool) -> None:
    """Several calls of one request have one trace and a parent each: the caller's trace if that is valid."""
    made = [outgoing["traceparent"].split("-") for outgoing in forward(headers, calls=3)]
    traces, parents = {parts[1] for parts in made}, {parts[2] for parts in made}
    assert (len(traces), len(parents), traces == {TRACE}) == (1, 3, goes_on)


def test_propagates_random_flag() -> None:
    """The flag of a random trace id goes on (level 2)."""
    (outgoing,) = forward([("traceparent", f"{VALID[:-2]}02")])
    _, trace, _, flags = outgoing["traceparent"].split("-")
    assert (trace, int(flags, 16) & 2) == (TRACE, 2)


HEX = st.text("0123456789abcdef", min_size=32, max_size=32).filter(lambda text: int(text, 16))
KEYS = st.from_regex(r"[a-z0-9][a-z0-9_\-*/@]{0,20}", fullmatch=True)
VALUES = st.from_regex(r"[!-+\--<>-~]{1,20}", fullmatch=True)


@given(HEX, st.integers(1, 2**64 - 1), st.integers(0, 3))
def test_a_traceparent_survives_parsing_and_rendering(trace: str, span: int, flags: int) -> None:
    """What is rendered is what was parsed, for all ids and flags."""
    from bandmaster.contrib.tracing.propagation.trace_headers import make_remote_context

    text = f"00-{trace}-{span:016x}-{flags:02x}"
    parsed = parse_traceparent([text])
    assert parsed is not None
    assert render_traceparent(make_remote_context(parsed, [])) == text


@given(st.dictionaries(KEYS, VALUES, max_size=32))
def test_a_tracestate_survives_parsing_and_rendering(members: dict[str, str]) -> None:
    """What is rendered is what was parsed, for all valid members."""
    from bandmaster.contrib.tracing.opentelemetry_internals import make_trace_state

    parsed = parse_tracestate([",".join(f"{key}={value}" for key, value in members.items())])
    assert dict(parsed) == members
    assert parse_tracestate([render_tracestate(make_trace_state(parsed))]) == parsed


@given(st.lists(st.text(), max_size=3), st.lists(st.text(), max_size=3))
def test_any_header_is_parsed_without_an_error(parents: list[str], states: list[str]) -> None:
    """Whatever a client sends, the parsers return something valid or nothing."""
    parsed = parse_traceparent(parents)
    assert parsed is None or (0 < parsed[0] < 2**128 and 0 < parsed[1] < 2**64)
    assert all(key and value for key, value in parse_tracestate(states))


def test_a_huge_header_takes_little_time() -> None:
    """The time to parse is linear in the length of a header."""
    import time

    began = time.perf_counter()
    parse_tracestate(["a" * 1_000_000, "a=" + "b " * 500_000, ",".join("k=v" for _ in range(200_000))])
    parse_traceparent(["0" * 1_000_000])
    assert time.perf_counter() - began < 5
