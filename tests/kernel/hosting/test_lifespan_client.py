"""Tests of bandmaster.kernel.hosting.lifespan_client."""

import anyio
import pytest
from tests.kernel.virtual import anyio_backend  # noqa: F401

from bandmaster.kernel.errors import HostLifespanError
from bandmaster.kernel.hosting.lifespan_client import LifespanClient

pytestmark = pytest.mark.anyio


def says(*steps):
    """An app that takes steps in order: receive (``None``), send (a type or a message), raise, or call."""
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


def running(app, **options):
    return LifespanClient(app, **options).running()


async def test_an_app_is_started_and_stopped():
    """The app receives the startup before the block, and the shutdown when the block is left."""
    app = says(None, STARTED, None, STOPPED)
    async with running(app):
        assert ["lifespan", "lifespan.startup"] == app.trace
        await anyio.sleep(60)
        assert ["lifespan", "lifespan.startup"] == app.trace
    assert ["lifespan", "lifespan.startup", "lifespan.shutdown"] == app.trace


async def test_state():
    """The client has the values that the app put into the scope's state."""

    async def app(scope, receive, send):
        scope["state"]["pool"] = 1
        await says(None, STARTED, None, STOPPED)(scope, receive, send)

    client = LifespanClient(app)
    async with client.running():
        assert {"pool": 1} == client.state


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
    """The specification allows an app without a lifespan, in whichever way the app shows that."""
    served = False
    async with running(app):
        served = True
    assert served


@pytest.mark.parametrize("app", [says(KeyError("path")), says(None, "http.response.start"), says(), says(None)])
async def test_a_required_lifespan_must_be_run(app):
    """A middleware that can't handle the scope would otherwise switch off the lifespan of the wrapped app."""
    with pytest.raises((KeyError, RuntimeError)):
        async with running(app, required=True):
            pytest.fail("served")


async def test_an_exception_of_the_startup():
    """The very exception is raised, neither in a group nor in another error."""
    error = OSError("no database")
    with pytest.raises(OSError) as raised:
        async with running(says(None, error)):
            pytest.fail("served")
    assert error is raised.value


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (ExceptionGroup("tasks", [ExceptionGroup("tasks", [OSError("no")])]), OSError),
        (ExceptionGroup("tasks", [OSError("no"), KeyError("no")]), ExceptionGroup),
    ],
)
async def test_a_group_of_one_exception_is_unwrapped(raised, expected):
    """A framework's group around a single exception says nothing; a group of several is raised as such."""
    with pytest.raises(expected):
        async with running(says(None, raised)):
            pytest.fail("served")


@pytest.mark.parametrize(
    "steps", [[None, SystemExit("no")], [SystemExit("no")], [None, STARTED, None, SystemExit("no")]]
)
async def test_an_app_that_calls_sys_exit(steps):
    """The SystemExit is raised where the lifespan runs; out of a task of its own it would end the event loop."""
    served = []
    with pytest.raises(SystemExit, match=r"^no$"):
        async with running(says(*steps)):
            served.append(True)
    assert ([True] if STARTED in steps else []) == served


async def test_an_exception_counts_more_than_the_message():
    """Frameworks send a traceback and raise; the exception is the cause."""
    error = OSError("no database")
    with pytest.raises(OSError) as raised:
        async with running(says(None, {"type": START_FAILED, "message": "Traceback ..."}, error)):
            pytest.fail("served")
    assert error is raised.value


@pytest.mark.parametrize("after", [[], [None], [anyio.sleep_forever]], ids=["returns", "listens on", "hangs"])
async def test_an_answer_of_failure_is_a_failure(after):
    """A reported failure is an error, also if the app goes on; of a traceback the last line is kept."""
    app = says(None, {"type": START_FAILED, "message": "Traceback\n  ...\nOSError: no\n"}, *after)
    with pytest.raises(HostLifespanError, match=r"^OSError: no$") as raised:
        async with running(app):
            pytest.fail("served")
    assert "startup" == raised.value.phase


async def test_a_reported_failure_of_a_required_lifespan():
    """The failure that the app reported counts, not the return that follows."""
    with pytest.raises(HostLifespanError, match=r"^OSError: no$"):
        async with running(says(None, {"type": START_FAILED, "message": "OSError: no"}), required=True):
            pytest.fail("served")


async def test_a_failure_without_a_message_names_the_type():
    """The message is optional in the protocol."""
    with pytest.raises(HostLifespanError, match=r"^the app sent lifespan.startup.failed$"):
        async with running(says(None, START_FAILED)):
            pytest.fail("served")


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        ([OSError("disk full")], OSError),
        ([STOP_FAILED], HostLifespanError),
        ([STOP_FAILED, OSError("disk full")], OSError),
        ([STOP_FAILED, anyio.sleep_forever], HostLifespanError),
        ([STOPPED, OSError("disk full")], OSError),
    ],
)
async def test_a_failing_shutdown_is_raised(steps, error):
    """A failure at the shutdown, raised or reported, is raised when the block is left."""
    served = False
    with pytest.raises(error):
        async with running(says(None, STARTED, None, *steps)):
            served = True
    assert served


@pytest.mark.parametrize(
    "steps", [[OSError("gone")], [STOP_FAILED, OSError("gone")], [STOP_FAILED], [STOP_FAILED, anyio.sleep_forever]]
)
async def test_an_app_that_dies_while_it_should_serve_ends_the_block(steps):
    """The block is cancelled at once, and the app's error is raised."""

    async def wait():
        await anyio.sleep(5)

    began = anyio.current_time()
    with pytest.raises((OSError, HostLifespanError)) as raised:
        async with running(says(None, STARTED, wait, *steps)):
            await anyio.sleep(60)
    assert 5 == pytest.approx(anyio.current_time() - began)
    assert not isinstance(raised.value, ExceptionGroup)


async def test_a_started_app_that_sends_another_message_has_failed():
    """An app that has answered the startup has a lifespan, so an error after that counts."""

    async def wait():
        await anyio.sleep(1)

    with pytest.raises(RuntimeError, match=r"expected a lifespan message, got 'http.response.start'"):
        async with running(says(None, STARTED, wait, "http.response.start")):
            await anyio.sleep(60)


@pytest.mark.parametrize("kind", ["lifespan.startup.complete", "lifespan.shutdown.complete"])
async def test_a_message_out_of_turn(kind):
    """A second answer to the startup, or an answer to the shutdown before there is one, is an error."""
    steps = [STARTED] if kind == STARTED else []
    with pytest.raises(RuntimeError, match=f"the application sent '{kind}' out of turn"):
        async with running(says(None, *steps, kind)):
            await anyio.sleep(60)


async def test_an_app_may_return_while_it_serves():
    """An app with nothing to do at the shutdown needn't wait for the shutdown."""
    async with running(says(None, STARTED)):
        await anyio.sleep(60)


async def test_a_required_lifespan_that_ends_while_it_should_serve():
    """The block is cancelled at once, and the error has the phase."""
    began = anyio.current_time()
    with pytest.raises(HostLifespanError, match="ended while it should serve") as raised:
        async with running(says(None, STARTED), required=True):
            await anyio.sleep(60)
    assert ("serving", 0) == (raised.value.phase, pytest.approx(anyio.current_time() - began))


@pytest.mark.parametrize("answer", [[STOPPED], []])
async def test_an_app_that_receives_without_an_end_is_cancelled(answer):
    """After the shutdown no message comes; a loop without an end is ended, as servers do."""
    began = anyio.current_time()
    app = says(None, STARTED, None, *answer, None, None)
    async with running(app):
        pass
    assert ["lifespan", "lifespan.startup", "lifespan.shutdown"] == app.trace
    assert 0 == pytest.approx(anyio.current_time() - began)


async def test_clean_up_after_the_last_answer_is_waited_for():
    """An app that cleans up after the answer to the shutdown isn't cancelled."""
    done = []

    async def clean_up():
        await anyio.sleep(3)
        done.append(True)

    async with running(says(None, STARTED, None, STOPPED, clean_up)):
        pass
    assert [True] == done


async def test_an_error_of_the_block_still_stops_the_app():
    """The app receives the shutdown, and the error is raised unchanged."""
    app, error = says(None, STARTED, None, STOPPED), OSError()
    with pytest.raises(OSError) as raised:
        async with running(app):
            raise error
    assert (error, "lifespan.shutdown", False) == (raised.value, app.trace[-1], hasattr(error, "__notes__"))


@pytest.mark.parametrize(
    ("failure", "phase"),
    [({"type": STOP_FAILED, "message": "disk full"}, "shutdown"), (OSError("disk full"), "lifespan")],
)
async def test_an_error_of_the_block_has_a_note_of_a_failed_shutdown(failure, phase):
    """Neither of two failures is lost."""
    with pytest.raises(AssertionError) as raised:
        async with running(says(None, STARTED, None, failure)):
            raise AssertionError
    assert [f"the application's {phase} failed: disk full"] == raised.value.__notes__


async def test_a_cancelled_block_cancels_the_app():
    """A cancellation is raised as such, and nothing is waited for."""
    app = says(None, STARTED, anyio.sleep_forever)
    with anyio.move_on_after(1) as scope:
        async with running(app):
            await anyio.sleep_forever()
    assert scope.cancelled_caught
