"""Tests of bandmaster.kernel.hosting.lifespan_client."""

import anyio
import pytest
from tests.kernel.virtual import anyio_backend  # noqa: F401

from bandmaster.kernel.errors import HostLifespanError
from bandmaster.kernel.hosting.lifespan_client import speaking

pytestmark = pytest.mark.anyio


def says(*steps):
    """An app that receives (``None``), sends, raises and calls what it is told, one after the other."""
    trace = []

    async def app(scope, receive, send):
        trace.append(scope["type"])
        for step in steps:
            if step is None:
                trace.append((await receive())["type"])
            elif isinstance(step, str):
                await send({"type": step})
            elif isinstance(step, dict):
                await send(step)
            elif isinstance(step, BaseException):
                raise step
            else:
                await step()

    app.trace = trace
    return app


STARTED, STOPPED = "lifespan.startup.complete", "lifespan.shutdown.complete"
START_FAILED, STOP_FAILED = "lifespan.startup.failed", "lifespan.shutdown.failed"


async def test_an_app_is_started_and_stopped():
    """Startup before anything is served, shutdown when the block is left."""
    app = says(None, STARTED, None, STOPPED)
    async with speaking(app, {}):
        assert ["lifespan", "lifespan.startup"] == app.trace
        await anyio.sleep(60)
        assert ["lifespan", "lifespan.startup"] == app.trace
    assert ["lifespan", "lifespan.startup", "lifespan.shutdown"] == app.trace


async def test_state_is_handed_over():
    """What the app puts into the scope's state is for its requests."""
    state = {}

    async def app(scope, receive, send):
        scope["state"]["pool"] = 1
        await says(None, STARTED, None, STOPPED)(scope, receive, send)

    async with speaking(app, state):
        assert {"pool": 1} == state


@pytest.mark.parametrize(
    "app",
    [
        says(AssertionError("only http")),
        says(),
        says(None),
        says("http.response.start"),
        says(None, "http.response.start"),
    ],
    ids=["raises at the scope", "returns", "returns after listening", "answers a page", "reads and answers a page"],
)
async def test_an_app_without_a_lifespan_is_served_all_the_same(app):
    """The specification allows it, in whichever way the app shows that it knows of none."""
    served = False
    async with speaking(app, {}):
        served = True
    assert served


@pytest.mark.parametrize("app", [says(KeyError("path")), says(None, "http.response.start")])
async def test_an_app_that_must_have_a_lifespan_is_not_let_off(app):
    """A middleware that chokes on the scope would otherwise switch off the lifespan of what it wraps."""
    with pytest.raises((KeyError, RuntimeError)):
        async with speaking(app, {}, must=True):
            pytest.fail("served")


async def test_what_startup_raises_is_raised():
    """Itself, neither in a group nor in other words."""
    error = OSError("no database")
    with pytest.raises(OSError) as raised:
        async with speaking(says(None, error), {}):
            pytest.fail("served")
    assert error is raised.value


async def test_what_is_raised_tells_more_than_what_was_sent():
    """Frameworks send a traceback and raise; the exception is the cause."""
    error = OSError("no database")
    with pytest.raises(OSError) as raised:
        async with speaking(says(None, {"type": START_FAILED, "message": "Traceback ..."}, error), {}):
            pytest.fail("served")
    assert error is raised.value


@pytest.mark.parametrize("after", [[], [None], [anyio.sleep_forever]], ids=["returns", "listens on", "hangs"])
async def test_an_answer_of_failure_is_a_failure(after):
    """Whatever the app does after it; of a traceback the last line is told."""
    app = says(None, {"type": START_FAILED, "message": "Traceback\n  ...\nOSError: no\n"}, *after)
    with pytest.raises(HostLifespanError, match=r"^OSError: no$"):
        async with speaking(app, {}):
            pytest.fail("served")


async def test_a_failure_without_a_message_names_what_was_sent():
    """The message is optional."""
    with pytest.raises(HostLifespanError, match=r"^the app sent lifespan.startup.failed$"):
        async with speaking(says(None, START_FAILED), {}):
            pytest.fail("served")


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        ([OSError("disk full")], OSError),
        ([STOP_FAILED], HostLifespanError),
        ([STOP_FAILED, OSError("disk full")], OSError),
        ([STOPPED, OSError("disk full")], OSError),
    ],
)
async def test_a_failing_shutdown_is_raised(steps, error):
    """Raised or answered, it is told once the block is left."""
    served = False
    with pytest.raises(error):
        async with speaking(says(None, STARTED, None, *steps), {}):
            served = True
    assert served


@pytest.mark.parametrize("steps", [[OSError("gone")], [STOP_FAILED, OSError("gone")], [STOP_FAILED]])
async def test_an_app_that_dies_while_it_should_serve_ends_the_block(steps):
    """At once, and with what it died of."""

    async def wait():
        await anyio.sleep(5)

    began = anyio.current_time()
    with pytest.raises((OSError, HostLifespanError)) as raised:
        async with speaking(says(None, STARTED, wait, *steps), {}):
            await anyio.sleep(60)
    assert 5 == pytest.approx(anyio.current_time() - began)
    assert not isinstance(raised.value, ExceptionGroup)


async def test_an_app_that_dies_after_sending_something_odd_has_died_all_the_same():
    """Having started, it has a lifespan."""

    async def wait():
        await anyio.sleep(1)

    with pytest.raises(RuntimeError, match=r"expected a lifespan message, got 'http.response.start'"):
        async with speaking(says(None, STARTED, wait, "http.response.start"), {}):
            await anyio.sleep(60)


async def test_an_app_may_return_while_it_serves():
    """Having nothing to do at the shutdown, it needn't wait for it."""
    async with speaking(says(None, STARTED), {}):
        await anyio.sleep(60)


@pytest.mark.parametrize("answer", [[STOPPED], []])
async def test_an_app_that_listens_for_ever_is_let_go(answer):
    """After the shutdown nothing more comes; a loop without an end is ended, as servers do."""
    began = anyio.current_time()
    async with speaking(says(None, STARTED, None, *answer, None, None), {}):
        pass
    assert 0 == pytest.approx(anyio.current_time() - began)


async def test_what_comes_after_the_last_answer_is_waited_for():
    """Clean-up may go on after it; it isn't cancelled."""
    done = []

    async def clean_up():
        await anyio.sleep(3)
        done.append(True)

    async with speaking(says(None, STARTED, None, STOPPED, clean_up), {}):
        pass
    assert [True] == done


async def test_an_error_of_the_block_still_stops_the_app():
    """What is served may fail; the app is told to shut down by cancellation then, and the error goes on."""
    app = says(None, STARTED, None, STOPPED)
    with pytest.raises(BaseExceptionGroup) as raised:
        async with speaking(app, {}):
            raise OSError
    assert raised.group_contains(OSError)
