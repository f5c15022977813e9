"""The way of an event: its fields, redaction, exceptions, and failures on the way."""

from __future__ import annotations

import dataclasses
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from pydantic import BaseModel, SecretStr
from structlog.contextvars import bound_contextvars
from tests.contrib.logging.logs import make_pipeline

from bandmaster.contrib.logging import LogEvent
from bandmaster.contrib.logging.pipeline import CRITICAL, ERROR, INFO
from bandmaster.contrib.web import bind, request_context, set_tenant, set_user
from bandmaster.kernel import Redactor

PLANTED = "hunter2-planted"


def emit_one(*arguments, **options) -> dict:
    pipeline, lines = make_pipeline()
    pipeline.emit(*arguments, **options)
    (event,) = lines.events
    return event


def test_an_event_has_time_level_logger_and_event() -> None:
    """The keys are those of the launcher's JSON, so that one reader reads both."""
    event = emit_one(INFO, "shop", "order placed", {"order": 7})
    assert {
        "time": "1970-01-01T00:16:40.000Z",
        "level": "info",
        "logger": "shop",
        "event": "order placed",
        "order": 7,
    } == event
    assert ["time", "level", "logger", "event", "order"] == list(event)


@pytest.mark.requirement("OB-10", "OB-2")
def test_an_event_has_the_fields_of_its_request() -> None:
    """Ids, tenant, user, bound fields and structlog's context variables are in every event."""
    with request_context("r-1", "c-1"), bound_contextvars(step="pay"):
        set_tenant("t-1")
        set_user("u-1")
        bind(basket=3)
        event = emit_one(INFO, "shop", "x", {})
    expected = {
        "request_id": "r-1",
        "correlation_id": "c-1",
        "tenant": "t-1",
        "user": "u-1",
        "basket": 3,
        "step": "pay",
    }
    assert expected == {name: event.get(name) for name in expected}
    assert not {"request_id", "tenant", "step"} & set(emit_one(INFO, "shop", "x", {}))


@given(st.text("abcdefghij0123456789-", min_size=1, max_size=40), st.lists(st.text(max_size=10), max_size=5))
def test_p14_every_event_of_a_context_has_its_request_id(request_id, events) -> None:
    """P-14: all log events within a request have the request's id."""
    pipeline, lines = make_pipeline()
    with request_context(request_id):
        for event in events:
            pipeline.emit(INFO, "shop", event, {})
    assert [request_id] * len(events) == [each["request_id"] for each in lines.events]


def test_the_events_own_fields_stay() -> None:
    """What the event says itself has precedence over its surroundings."""
    with request_context("r-1"), bound_contextvars(step="pay"):
        bind(basket=3)
        event = emit_one(INFO, "shop", "x", {"step": "ship", "basket": 4})
    assert ("ship", 4) == (event["step"], event["basket"])


def test_a_bound_field_forges_no_id() -> None:
    """A field that is bound under the name of an id has no effect."""
    with request_context("r-1"):
        bind(request_id="forged")
        assert "r-1" == emit_one(INFO, "shop", "x", {})["request_id"]


def test_fields_of_taken_names_are_renamed() -> None:
    """A field can't replace the time, the level or the logger of its event."""
    event = emit_one(INFO, "shop", "x", {"time": 1, "level": 2, "logger": 3, "exception": 4})
    assert ("info", "shop") == (event["level"], event["logger"])
    assert (1, 2, 3, 4) == (event["time_"], event["level_"], event["logger_"], event["exception_"])


@pytest.mark.requirement("OBS-L7")
def test_an_event_has_the_ids_of_the_trace() -> None:
    """Where OpenTelemetry is in use, the current span's ids are in the event."""
    context = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))
    with trace.use_span(NonRecordingSpan(context)):
        event = emit_one(INFO, "shop", "x", {})
    assert (f"{0xABC:032x}", f"{0xDEF:016x}") == (event["trace_id"], event["span_id"])
    assert "trace_id" not in emit_one(INFO, "shop", "x", {})


@dataclasses.dataclass
class Account:
    name: str
    password: str


class Login(BaseModel):
    user: str
    secret: SecretStr
    api_key: str


class Custom:
    def __init__(self) -> None:
        self.password = PLANTED

    def __repr__(self) -> str:
        return f"<Custom password={self.password}>"


@pytest.mark.requirement("P-13", "OBS-L2")
@pytest.mark.parametrize(
    "fields",
    [
        {"password": PLANTED},
        {"deep": {"list": [{"apiKey": PLANTED}]}},
        {"account": Account("kim", PLANTED)},
        {"login": Login(user="kim", secret=SecretStr(PLANTED), api_key=PLANTED)},
        {"custom": Custom()},
        {"error": ValueError(f"token={PLANTED}")},
        {"url": f"postgresql://shop:{PLANTED}@db/shop"},
        {"header": f"Authorization: Bearer {PLANTED}"},
        {"body": f'{{"password": "{PLANTED}"}}'.encode()},
        {"text": f"https://host/path?access_token={PLANTED}&page=2"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_no_secret_is_in_an_event(fields) -> None:
    """Secrets by key and inside of text are replaced, in every kind of value."""
    pipeline, lines = make_pipeline()
    pipeline.emit(INFO, "shop", "x", dict(fields))
    assert PLANTED not in lines[0].decode()
    assert "[REDACTED]" in lines[0].decode()


@pytest.mark.requirement("OBS-L2")
def test_no_secret_is_in_the_text_of_an_event() -> None:
    """The text of an event is redacted, however long it is."""
    for event in (f"connect redis://:{PLANTED}@cache", f"connect redis://:{PLANTED}@cache " + "x" * 1000):
        assert PLANTED not in json.dumps(emit_one(INFO, "lib", event, {}))


def raise_with_secrets() -> None:
    password = PLANTED + "-local"  # noqa: F841
    try:
        raise ConnectionError(f"can't reach postgresql://shop:{PLANTED}@db/shop")
    except ConnectionError as error:
        error.add_note(f"Authorization: Bearer {PLANTED}")
        raise LookupError(f"api_key={PLANTED}") from error


@pytest.mark.requirement("OBS-L1", "OBS-L2")
def test_no_secret_is_in_a_traceback() -> None:
    """A traceback has no values of variables, and no secret from messages, causes and notes."""
    try:
        raise_with_secrets()
    except LookupError as error:
        event = emit_one(ERROR, "shop", "failed", {}, exception=error)
    assert PLANTED not in json.dumps(event)
    assert 2 == event["exception"].count("Traceback (most recent call last)")
    assert "LookupError" in event["exception"].splitlines()[-1]


def test_a_long_traceback_keeps_cause_and_place() -> None:
    """The end of a traceback of a megabyte is there, and no secret of it."""
    evidence = "Traceback\n" + f"  password={PLANTED} xxxxxxxxxxx\n" * 40_000 + "KeyError: 'the cause'"
    event = emit_one(ERROR, "shop", "failed", {}, evidence=evidence)
    assert PLANTED not in event["exception"]
    assert event["exception"].endswith("KeyError: 'the cause'")
    assert len(event["exception"]) < 16 * 1024


def test_a_message_of_megabytes_is_cut() -> None:
    """A text of any length costs no more than one of the longest that are shown, and no secret at the cut is left."""
    event = emit_one(INFO, "lib", f"x {'y' * 65_000} postgresql://shop:{PLANTED}@db " * 200, {})
    assert len(event["event"]) < 9000
    assert PLANTED not in event["event"]


@pytest.mark.requirement("OBS-L2")
def test_a_hostile_event_takes_linear_time() -> None:
    """Ten times the text takes about ten times as long, not a hundred times."""

    def measure(length: int) -> float:
        evidence = "token=" * length
        times = []
        for _ in range(3):
            began = time.process_time()
            emit_one(ERROR, "shop", "failed", {"a": "://" * length, "b": "bearer " * length}, evidence=evidence)
            times.append(time.process_time() - began)
        return min(times)

    assert measure(20_000) < 40 * max(measure(1000), 0.001)


class Unreadable:
    def __repr__(self) -> str:
        raise RuntimeError("no text")

    __str__ = __repr__


def test_a_value_that_fails_is_no_failure() -> None:
    """An event with a value whose text can't be made is written without it."""
    assert "x" == emit_one(INFO, "shop", "x", {"value": Unreadable()})["event"]


def test_an_event_that_cant_be_rendered_is_told() -> None:
    """The code that logs never fails; one event says which logger it was."""
    pipeline, lines = make_pipeline()
    pipeline.emit(INFO, "shop", Unreadable(), {})
    (event,) = lines.events
    assert ("an event can't be rendered", "shop", "RuntimeError") == (event["event"], event["of"], event["error"])
    assert 1 == pipeline.failed


def test_a_sink_that_fails_is_no_failure() -> None:
    """Not even a sink that raises reaches the code that logs."""
    pipeline, _ = make_pipeline()

    def fail(line, *, urgent=False):
        raise OSError

    pipeline._write = fail
    pipeline.emit(INFO, "shop", "x", {})
    assert 1 == pipeline.failed


def test_listeners_see_events_without_secrets() -> None:
    """A listener gets each event as it was written."""
    pipeline, _ = make_pipeline()
    seen: list[LogEvent] = []
    pipeline.listeners = (seen.append,)
    pipeline.emit(ERROR, "shop", "failed", {"password": PLANTED}, evidence="Trace")
    (event,) = seen
    assert (ERROR, "shop", "failed", "Trace") == (event.level, event.logger, event.event, event.exception)
    assert {"password": "[REDACTED]"} == event.fields


def test_levels_in_between_have_the_name_below() -> None:
    """A level of one's own is shown as the next lower one."""
    assert ["info", "debug", "critical"] == [emit_one(level, "a", "b", {})["level"] for level in (25, 5, CRITICAL + 9)]


def test_own_keys_are_secret() -> None:
    """The redactor's own patterns hold for events as well."""
    pipeline, lines = make_pipeline(redactor=Redactor(patterns=["patient"]))
    pipeline.emit(INFO, "shop", "patient=Kim was here", {"patient": "Kim", "nurse": "Lee"})
    assert "Kim" not in lines[0].decode() and "Lee" in lines[0].decode()
