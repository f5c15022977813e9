"""Tests of bandmaster.kernel.listeners.timeline."""

import json

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kernel.virtual import anyio_backend  # noqa: F401

from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.decorators import lifespan
from bandmaster.kernel.errors import StartCancelled, StartError
from bandmaster.kernel.lifecycle.kernel import Kernel
from bandmaster.kernel.listeners.timeline import Record, Span
from bandmaster.kernel.settings.kernel import KernelSettings

DEPTH = 40
FINITE = st.floats(0, 1e6)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,10}", fullmatch=True)
SPANS = st.builds(Span, component=NAMES, waited=FINITE, own=FINITE, outcome=st.sampled_from(["started", "failed"]))
RECORDS = st.builds(
    Record,
    took=st.none() | FINITE,
    spans=st.lists(SPANS, max_size=6).map(tuple),
    stages=st.lists(st.lists(NAMES, max_size=3).map(tuple), max_size=3).map(tuple),
    waits_for=st.dictionaries(NAMES, st.lists(NAMES, max_size=3).map(tuple), max_size=6),
)


def component(name, seconds=0.0, priority=100, error=None, **fields):
    @lifespan(band=LifespanBand.PERSISTENCE, name=name, priority=priority, **fields)
    async def started():
        await anyio.sleep(seconds)
        if error is not None:
            raise error
        yield

    return started


def summarize(spans):
    return [(span.component, round(span.waited, 3), round(span.own, 3), span.outcome) for span in spans]


async def record_of(*contributions, expecting=None, during=None, **settings):
    kernel = Kernel(contributions=contributions, discover=False, settings=KernelSettings(**settings))
    async with anyio.create_task_group() as tasks:
        if during is not None:
            tasks.start_soon(during, kernel)
        try:
            async with kernel.running():
                pass
        except BaseException as error:
            assert isinstance(error, expecting)
        tasks.cancel_scope.cancel()
    return kernel.timeline.record


@pytest.mark.anyio
async def test_waiting_and_working_are_kept_apart():
    """The time that a component waited isn't counted as its own."""
    record = await record_of(
        component("pool", 2),
        component("cache", 0.5),
        component("jobs", 1, after=["pool"]),
        component("api", 0.25, priority=199),
    )
    assert [
        ("pool", 0, 2, "started"),
        ("jobs", 2, 1, "started"),
        ("cache", 0, 0.5, "started"),
        ("api", 3, 0.25, "started"),
    ] == summarize(record.blame())
    assert [2, 3, 0.5, 3.25] == [pytest.approx(span.end) for span in record.blame()]
    assert 3.25 == pytest.approx(record.took)


@pytest.mark.anyio
async def test_the_critical_chain_is_what_the_start_had_to_wait_for():
    """The chain follows edges within a stage, and the barrier between stages."""
    record = await record_of(
        component("pool", 2),
        component("cache", 2.5),
        component("jobs", 1, after=["pool"]),
        component("api", 0.25, priority=199),
        component("slow", 0.5, priority=199),
    )
    assert ["pool", "jobs", "slow"] == [span.component for span in record.critical_chain()]


@pytest.mark.anyio
async def test_the_record_of_a_failed_start():
    """The record has the failed and the cancelled components, none that never began, and no duration."""
    record = await record_of(
        component("bad", 1, error=OSError("no")),
        component("hanging", 60),
        component("quick", 0.5),
        component("never", priority=199),
        expecting=StartError,
    )
    assert [("bad", 0, 1, "failed"), ("hanging", 0, 1, "cancelled"), ("quick", 0, 0.5, "started")] == summarize(
        record.spans
    )
    assert record.took is None


@pytest.mark.anyio
async def test_the_record_of_a_cancelled_start():
    """The record has the components that were starting when the stop was requested."""

    async def stop(kernel):
        await anyio.sleep(2)
        kernel.request_stop("enough")

    record = await record_of(component("hanging", 60), expecting=StartCancelled, during=stop)
    assert [("hanging", 0, 2, "cancelled")] == summarize(record.spans)


@pytest.mark.anyio
async def test_an_overdue_start():
    """An overdue start is cancelled, and recorded as overdue: the deadline is the cause."""
    record = await record_of(component("late", 60, start_timeout=3), expecting=StartError)
    assert [("late", 0, 3, "overdue")] == summarize(record.spans)


@pytest.mark.anyio
async def test_a_start_that_is_tried_again():
    """The own time has all tries and the delays between them."""
    left = [OSError("no"), OSError("no")]

    @lifespan(band=LifespanBand.PERSISTENCE, on_start_failure="retry")
    async def trying():
        await anyio.sleep(1)
        if left:
            raise left.pop()
        yield

    record = await record_of(component("quick", 0.5, before=["trying"]), trying)
    (span,) = [span for span in record.spans if span.component == "trying"]
    assert ("started", 3, 0.5) == (span.outcome, span.tries, span.waited)
    assert 3.3 <= span.own <= 3.34
    assert record.took == pytest.approx(span.end)


@pytest.mark.anyio
async def test_degraded_starts():
    """A degraded component has the time of a start; a degraded dependent never began."""

    @lifespan(band=LifespanBand.PERSISTENCE, on_start_failure="degrade", requires=["bad"])
    async def relying():
        yield

    bad = component("bad", 1, error=OSError("no"), on_start_failure="degrade")
    record = await record_of(bad, relying, component("late", 9, start_timeout=2, on_start_failure="degrade"))
    assert [("bad", 0, 1, "degraded"), ("late", 0, 2, "degraded"), ("relying", 2, 0, "degraded")] == summarize(
        record.spans
    )
    assert [1, 1, 0] == [span.tries for span in record.spans]
    assert 2 == pytest.approx(record.took)


@pytest.mark.anyio
async def test_an_abandoned_start():
    """A start that ignored a cancellation is recorded as abandoned."""

    @lifespan(band=LifespanBand.PERSISTENCE, start_timeout=3)
    async def stubborn():
        with anyio.CancelScope(shield=True):
            await anyio.sleep(20)
        yield

    record = await record_of(stubborn, expecting=StartError, abandon_after=2)
    assert [("stubborn", 0, 20, "abandoned")] == summarize(record.spans)


@pytest.mark.anyio
async def test_the_record_of_a_start_under_way():
    """The record has the components that are starting and those that have started."""
    seen = []

    async def look(kernel):
        await anyio.sleep(1)
        seen.append(kernel.timeline.record)

    await record_of(component("slow", 2), component("quick"), during=look)
    assert [("quick", 0, 0, "started"), ("slow", 0, 0, "starting")] == summarize(seen[0].spans)
    assert seen[0].took is None


@pytest.mark.anyio
async def test_only_the_last_start_is_kept():
    """A second run begins with an empty record."""
    seconds = iter([1, 3])

    @lifespan(band=LifespanBand.PERSISTENCE)
    async def sometimes():
        await anyio.sleep(next(seconds))
        yield

    kernel = Kernel(contributions=[sometimes], discover=False)
    durations = []
    for _ in range(2):
        async with kernel.running():
            durations.append(kernel.timeline.record.took)
    assert [1, 3] == [pytest.approx(took) for took in durations]


@pytest.mark.anyio
async def test_a_real_record_survives_json():
    """A record that one process writes can be read by another."""
    record = await record_of(component("pool", 2), component("api", 0.1, priority=199, after=["pool"]))
    assert record == Record.from_json(record.to_json())


@given(RECORDS)
def test_every_record_survives_json(record):
    """The round trip is exact, to the last bit of a float."""
    assert record == Record.from_json(record.to_json())


@given(RECORDS)
def test_every_chain_ends(record):
    """A chain ends also for a damaged file with a cycle, which no plan allows."""
    chain = [span.component for span in record.critical_chain()]
    assert len(set(chain)) == len(chain)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["took", "spans", "stages", "waits_for", "component", "own", "waited"]), inner
        )
    ),
    max_leaves=8,
)


@given(st.text() | JSON.map(json.dumps))
def test_any_text_is_a_record_or_a_value_error(text):
    """Parsing raises nothing but a ValueError."""
    try:
        record = Record.from_json(text)
    except ValueError as error:
        assert str(error).startswith("no timeline of a start: ")
    else:
        assert record == Record.from_json(record.to_json())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 10**5,
        '{"took": 1}',
        '{"took": "1", "spans": [], "stages": [], "waits_for": {}}',
        '{"took": 1, "spans": [{"component": "a", "waited": null, "own": 1}], "stages": [], "waits_for": {}}',
        '{"took": 1, "spans": [{"component": "a", "waited": 1, "own": 1, "x": 1}], "stages": "ab", "waits_for": {}}',
    ],
)
def test_a_file_of_another_shape_is_a_value_error(text):
    """A JSON document of another shape is no record."""
    with pytest.raises(ValueError, match=r"^no timeline of a start: "):
        Record.from_json(text)
