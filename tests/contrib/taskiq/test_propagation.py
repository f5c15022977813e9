"""The request context and the trace, sent with a message and restored for the task."""

import contextvars

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from tests.contrib.taskiq.timing import PATIENCE

from bandmaster.contrib.taskiq import propagation
from bandmaster.contrib.taskiq.propagation import (
    make_context_labels,
    make_global_trace_fields,
    make_trace_labels,
    restore_context,
)
from bandmaster.contrib.web import current_context, request_context, tenant, user

TRACE_ID, SPAN_ID = 0x0AF7651916CD43DD8448EB211C80319C, 0x00F067AA0BA902B7
LABELS = ["bm_request_id", "bm_correlation_id", "bm_tenant", "bm_user", "bm_trace_traceparent", "bm_trace_tracestate"]
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.lists(st.integers())


@pytest.fixture
def traced():
    """Run a block within a span, as a tracing library does."""
    from opentelemetry import context

    span = NonRecordingSpan(SpanContext(TRACE_ID, SPAN_ID, is_remote=False, trace_flags=TraceFlags(1)))
    token = context.attach(trace.set_span_in_context(span))
    yield
    context.detach(token)


@pytest.fixture
def no_opentelemetry(monkeypatch):
    """Pretend that OpenTelemetry isn't installed."""
    monkeypatch.setattr(propagation, "has_opentelemetry", lambda: False)


def _seen():
    context = current_context()
    return None if context is None else (context.request_id, context.correlation_id, context.tenant, context.user)


def test_without_a_context_there_are_no_labels():
    """Outside of requests and traces a message gets no labels."""
    assert {} == make_context_labels()


def test_the_request_context_is_restored():
    """The sender's request context is set where the task runs."""
    with request_context("request", "correlation", tenant="acme", user="ann"):
        found = make_context_labels()
    assert {
        "bm_request_id": "request",
        "bm_correlation_id": "correlation",
        "bm_tenant": "acme",
        "bm_user": "ann",
    } == found
    with restore_context(found):
        assert ("request", "correlation", "acme", "ann") == _seen()
    assert None is _seen()


def test_a_missing_tenant_stays_missing():
    """A missing tenant isn't labelled; missing ids are made."""
    with request_context("request"):
        found = make_context_labels()
    assert {"bm_request_id": "request", "bm_correlation_id": "request"} == found
    with restore_context({}):
        made = current_context()
        assert (None, None) == (tenant(), user())
        assert made.correlation_id == made.request_id


def test_a_task_does_not_run_in_the_context_around_it():
    """A task doesn't get the context of a request that the worker's process serves."""
    with request_context("request", tenant="acme", user="ann"):
        with restore_context({"bm_request_id": "task"}):
            assert ("task", "task", None, None) == _seen()
        assert ("request", "request", "acme", "ann") == _seen()


def test_the_context_ends_with_a_failed_task():
    """Neither context nor trace stays set after a task has failed."""
    before = dict(contextvars.copy_context())
    with (
        pytest.raises(OSError, match="no disk"),
        restore_context({"bm_tenant": "acme", "bm_trace_traceparent": _parent()}),
    ):
        raise OSError("no disk")
    after = dict(contextvars.copy_context())
    assert {variable: before.get(variable) for variable in after if after[variable] is not None} == {
        variable: value for variable, value in after.items() if value is not None
    }
    assert None is _seen()
    assert 0 == trace.get_current_span().get_span_context().trace_id


def _parent():
    return f"00-{TRACE_ID:032x}-{SPAN_ID:016x}-01"


def test_the_trace_is_sent(traced):
    """A trace is sent in the W3C's form, which other tracers can read."""
    assert {"bm_trace_traceparent": _parent()} == make_trace_labels(make_global_trace_fields())


def test_the_trace_goes_on_in_the_task(traced):
    """The spans of a task belong to the sender's trace."""
    found = make_trace_labels(make_global_trace_fields())

    def elsewhere():
        assert 0 == trace.get_current_span().get_span_context().trace_id
        with restore_context(found):
            context = trace.get_current_span().get_span_context()
            assert (TRACE_ID, SPAN_ID, True) == (context.trace_id, context.span_id, context.is_remote)
        assert 0 == trace.get_current_span().get_span_context().trace_id

    contextvars.Context().run(elsewhere)


def test_without_opentelemetry_there_is_no_trace(traced, no_opentelemetry):
    """Without OpenTelemetry no trace is sent or restored."""
    assert {} == make_global_trace_fields()
    with restore_context({"bm_trace_traceparent": _parent()}):
        assert None is not _seen()


def test_opentelemetry_is_found_by_its_api(monkeypatch):
    """A package of the same name without the API doesn't count."""
    look = propagation.has_opentelemetry.__wrapped__
    assert True is look()
    found = {"opentelemetry": object(), "opentelemetry.propagate": None}
    monkeypatch.setattr(propagation.importlib.util, "find_spec", found.__getitem__)
    assert False is look()
    found["opentelemetry"] = None
    assert False is look()

    def missing(name):
        if name == "opentelemetry":
            return object()
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(propagation.importlib.util, "find_spec", missing)
    assert False is look()


@given(st.dictionaries(st.sampled_from(LABELS), VALUES))
def test_labels_of_any_type_are_accepted(found):
    """Labels of any type are accepted, since any program may write to the queue."""
    with restore_context(found):
        request_id, correlation_id, _, _ = _seen()
        assert 1 <= len(request_id) <= 128
        assert request_id.isprintable()
        assert 1 <= len(correlation_id) <= 128
    assert None is _seen()


@pytest.mark.parametrize("value", ["a\nb", "a\x00\x1b[31m", "x" * 30_000, "", "größe"])
def test_invalid_ids_are_replaced(value):
    """Invalid ids, which would reach logs and headers, are replaced, and an invalid trace is ignored."""
    labels = {"bm_request_id": value, "bm_correlation_id": value}
    labels |= {"bm_trace_traceparent": value, "bm_trace_baggage": value, f"bm_trace_{value}": value}
    with restore_context(labels):
        request_id, correlation_id, _, _ = _seen()
        assert request_id != value
        assert correlation_id == request_id
        assert 0 == trace.get_current_span().get_span_context().trace_id


@pytest.mark.anyio
async def test_concurrent_tasks_have_contexts_of_their_own():
    """Concurrent tasks keep their contexts apart, also after they have waited."""
    wrong, turns = [], anyio.Event()

    async def one(number):
        with restore_context({"bm_tenant": f"tenant-{number}"}):
            await turns.wait()
            wrong.extend([number] if tenant() != f"tenant-{number}" else [])

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(one, number)
            await anyio.sleep(0)
            turns.set()
    assert [] == wrong
