"""What real servers make of an application that fails, hangs, crashes, drains and stops.

The launcher is what it should be; under the other servers it is as good as they let it. What they can't do stands in
the tables: it degrades to something that ends, within the grace, and says why.
"""

import signal
import sys

import pytest

LAUNCHER = "launcher"
FOREIGN = ("uvicorn", "hypercorn", "granian")
SERVERS = (LAUNCHER, *FOREIGN)
LAUNCHED = (LAUNCHER, "launcher/uvicorn-asyncio", "launcher/hypercorn", "launcher/hypercorn-trio", "launcher/granian")

WAITS_FOR_EVER = {"hypercorn"} if sys.version_info >= (3, 12, 1) else set()
"""From Python 3.12.1 on hypercorn's own command stops when the last client has left (pgjones/hypercorn#308)."""

SLACK = 2.0
"""Seconds that a busy machine may take beside; what these tests rule out ends with the grace of 8 seconds, or later."""

STARTED = ["start database", "start service"]
STOPPED = ["stop service", "stop database"]

pytestmark = pytest.mark.process


def on(scenario, *servers):
    """Marks a test of one scenario on some servers."""

    def mark(test):
        return pytest.mark.parametrize("server", servers)(pytest.mark.scenario(scenario)(test))

    return mark


def order(seen, *facts):
    """Those of the facts that happened, in the order in which they did."""
    return [fact for fact in seen.facts if fact in facts]


# -- starting ------------------------------------------------------------------------------------------------------


@on("start failure", *SERVERS)
@pytest.mark.requirement("FA-1", "FA-14", "XC-L4", "XC-C2")
def test_a_start_that_fails(observe, server):
    """What had started is stopped, the cause is told, no server serves a dead application."""
    seen = observe(server, "start failure")
    # hypercorn 0.18 leaves with 0 after its own worker has told it of the failure.
    assert seen.code == {LAUNCHER: 70, "uvicorn": 3, "hypercorn": 0, "granian": 1}[server]
    assert seen.facts == [*STARTED, "stop database"]
    assert "no luck today" in seen.output


@on("start failure", LAUNCHER)
def test_the_report_of_a_failed_start(observe, server):
    """The cause comes first, with component, provenance, and the traceback without the machinery's frames."""
    report = observe(server, "start failure").output.partition("bandmaster: The start failed: ")[2]
    assert report.startswith("'service' (in code, __main__:service) failed to start: RuntimeError: no luck today\n")
    assert 'raise RuntimeError("no luck today")' in report
    assert "kernel/lifecycle.py" not in report
    assert "anyio" not in report


@on("term while starting", *SERVERS)
@pytest.mark.requirement("FA-14", "XC-L4")
def test_sigterm_while_a_start_hangs(observe, server):
    """The start is cancelled and rolled back within a second."""
    seen = observe(server, "term while starting")
    if server == "hypercorn":
        # Its main process keeps the signal to itself and waits 60 seconds for the worker's start.
        assert (seen.code, seen.facts) == (None, STARTED)
        return
    assert seen.code == {LAUNCHER: 143, "uvicorn": 3, "granian": 0}[server]
    assert seen.facts == [*STARTED, "stop database"]
    assert seen.took < 1.5 + SLACK


@on("two ints while starting", LAUNCHER)
def test_ctrl_c_twice_while_a_start_hangs(observe, server):
    """The first one is enough."""
    seen = observe(server, "two ints while starting")
    assert seen.code == 130
    assert seen.facts == [*STARTED, "stop database"]
    assert seen.took < 1.5 + SLACK


@on("blocking start", LAUNCHER, "uvicorn")
def test_sigterm_while_a_start_blocks_the_event_loop(observe, server):
    """Nothing can be rolled back; the watchdog ends the process after abandon_after, and says where it stood."""
    seen = observe(server, "blocking start")
    assert seen.code == 143
    assert seen.facts == STARTED
    assert 0.4 < seen.took < 1.5 + SLACK
    assert "the event loop has been blocked for 500 ms" in seen.output
    assert "time.sleep(60)" in seen.output


@on("stubborn start", LAUNCHER, "uvicorn")
def test_sigterm_while_a_start_ignores_its_cancellation(observe, server):
    """Its stop deadline and abandon_after later it is named, and the process ended."""
    seen = observe(server, "stubborn start")
    assert seen.code == 70
    assert seen.facts == [*STARTED, "stop database"]
    assert seen.took < 3 + SLACK
    assert "only 'service' left, which ignored the cancellation" in seen.output


@on("port taken", LAUNCHER, "launcher/granian")
def test_a_port_that_is_taken(observe, server):
    """Exit code 78 before anything starts, with what to try; granian doesn't share it in secret."""
    seen = observe(server, "port taken")
    port = seen.text["port"]
    assert seen.code == 78
    assert seen.facts == []
    assert seen.output.startswith(
        f"bandmaster: 127.0.0.1:{port} is taken: another process listens there already. Stop it "
        f"(`ss -ltnp 'sport = :{port}'` names it), or choose another port with --port or BANDMASTER_SERVER_PORT: "
    )


# -- serving -------------------------------------------------------------------------------------------------------


@on("crash", *SERVERS)
@pytest.mark.requirement("XC-L4")
def test_a_component_that_crashes_while_serving(observe, server):
    """Nothing is answered but 503 from then on, the rest is stopped in order, and the process ends."""
    seen = observe(server, "crash")
    assert seen.facts == [*STARTED, "stop database"]
    # A closed connection says the same as a 503.
    assert seen.status["after"] in (503, "ConnectionRefusedError", "ConnectionResetError", "RemoteDisconnected")
    assert "died while serving" in seen.output
    # hypercorn's worker can't end its main process: it answers 503, and /livez too, until somebody restarts it.
    assert seen.code == {LAUNCHER: 70, "uvicorn": -signal.SIGTERM, "hypercorn": 0, "granian": 1}[server]
    if server == "hypercorn":
        assert (seen.status["after"], seen.status["live"]) == (503, 503)
    assert seen.took < 3 + SLACK


# -- stopping ------------------------------------------------------------------------------------------------------


@on("clean", *SERVERS)
@pytest.mark.requirement("FA-1", "FA-13", "XC-L2", "XC-L3", "CF-30")
def test_a_clean_stop(observe, server):
    """SIGTERM: the reverse of the start, and exit code 0 (uvicorn always ends by the signal itself)."""
    seen = observe(server, "clean")
    assert seen.code == (-signal.SIGTERM if server == "uvicorn" else 0)
    assert order(seen, *STARTED, *STOPPED) == [*STARTED, *STOPPED]
    assert seen.took < 2.5 + SLACK


@on("ctrl-c", LAUNCHER)
def test_ctrl_c_in_a_terminal(observe, server):
    """The signal goes to the whole group; it is a request to stop like any other."""
    seen = observe(server, "ctrl-c")
    assert seen.code == 0
    assert order(seen, *STOPPED) == STOPPED


@on("stop failure", *SERVERS)
@pytest.mark.requirement("XC-L4")
def test_a_stop_that_fails(observe, server):
    """The rest is stopped all the same, and the error is told; only the launcher can tell it by an exit code."""
    seen = observe(server, "stop failure")
    assert seen.code == {LAUNCHER: 70, "uvicorn": -signal.SIGTERM, "hypercorn": 0, "granian": 0}[server]
    assert order(seen, *STARTED, *STOPPED) == [*STARTED, "stop database"]
    assert "no luck in the end" in seen.output


@on("hanging stop", LAUNCHER, "uvicorn")
def test_a_stop_that_hangs(observe, server):
    """It is cancelled at its deadline, one second here, and the rest is stopped."""
    seen = observe(server, "hanging stop")
    assert seen.code == {LAUNCHER: 70, "uvicorn": -signal.SIGTERM}[server]
    assert order(seen, "hang", *STOPPED) == ["hang", "stop database"]
    assert 0.9 < seen.took < 4


@on("stubborn stop", LAUNCHER, "uvicorn", "granian")
def test_a_stop_that_ignores_its_cancellation(observe, server):
    """It is named and the process ended, as soon as nothing else is left; granian's main process ends with 0."""
    seen = observe(server, "stubborn stop")
    assert seen.code == {LAUNCHER: 70, "uvicorn": 70, "granian": 0}[server]
    assert order(seen, "hang", *STOPPED) == ["hang", "stop database"]
    assert "only 'service' left, which ignored the cancellation" in seen.output
    assert seen.took < 4


@on("blocking stop", LAUNCHER, "uvicorn")
def test_a_stop_that_blocks_the_event_loop(observe, server):
    """The watchdog ends the process a little before the grace is over, and says where it stood."""
    seen = observe(server, "blocking stop")
    assert seen.code == 70
    assert "the grace of 8 s for the stop is over" in seen.output
    assert "'service' is left, stopping" in seen.output
    assert "time.sleep(60)" in seen.output
    assert 7 < seen.took < 8.5


# -- draining ------------------------------------------------------------------------------------------------------


@on("drain", *SERVERS, *LAUNCHED[1:])
def test_a_request_in_flight_is_answered(observe, server):
    """SIGTERM while a request takes its time: it gets it, and the components stop after it."""
    seen = observe(server, "drain")
    assert (seen.status["slow"], seen.text["slow"]) == (200, "done")
    assert order(seen, "slow ended", *STOPPED) == ["slow ended", *STOPPED]
    assert seen.code == (-signal.SIGTERM if server == "uvicorn" else 0)
    # hypercorn waits for connections 3 seconds, unless it is told otherwise; or until our client gives up, after 10.
    assert seen.took < (17 if server in WAITS_FOR_EVER else 7 if server == "hypercorn" else 4)


@on("drain", *SERVERS, *LAUNCHED[1:])
def test_a_new_connection_while_draining(observe, server):
    """It is refused, so that the client turns to another instance."""
    new = observe(server, "drain").status["new"]
    # hypercorn's main process holds the listening socket, too: the connection waits in vain.
    assert new == ("TimeoutError" if server == "hypercorn" else "ConnectionRefusedError")


@on("drain", *SERVERS, *LAUNCHED[1:])
def test_an_open_websocket_is_told(observe, server):
    """It is closed with 1001, going away, within 0.5 s of the signal."""
    seen = observe(server, "drain")
    if server in WAITS_FOR_EVER:
        assert seen.close_code == 0  # it never is
        return
    # uvicorn may be first with its own 1012, service restart; granian drops the connection when it stops;
    # hypercorn's worker hears of the signal 0.1 s later, and only that it is to stop.
    allowed = {"uvicorn": (1001, 1012), "granian": (1001, 1006), "hypercorn": (1001, 1006, 1011)}.get(server, (1001,))
    assert seen.close_code in allowed
    assert seen.at["socket"] < (4 if server == "hypercorn" else 0.5)


@on("drain", LAUNCHER, "uvicorn", "granian", *LAUNCHED[1:])
def test_a_long_stream_is_told(observe, server):
    """It ends by itself, with a last word, within 0.5 s of the signal."""
    seen = observe(server, "drain")
    assert seen.text["stream"].endswith("bye")
    assert seen.at["stream"] < 0.5
    assert "drain hook" in seen.facts


def skipped_the_drain(seen, server):
    assert "slow ended" not in seen.facts
    assert order(seen, *STOPPED) == STOPPED
    if server in LAUNCHED:
        assert seen.code == 130
        assert order(seen, "slow cut", *STOPPED) == ["slow cut", *STOPPED]
    # granian's main process hands one signal on, no second one: its worker has the whole drain_timeout, and then,
    # since granian itself waits for requests for ever, the rest of the grace.
    assert seen.took < (9 if server == "granian" else 3)


@on("two ints", LAUNCHER, "launcher/hypercorn", "launcher/granian", "uvicorn", "granian")
def test_a_second_ctrl_c_skips_the_drain(observe, server):
    """The request in flight is cut, its clean-up and the stops still run, however long they take."""
    skipped_the_drain(observe(server, "two ints"), server)


@on("term and int", LAUNCHER, "uvicorn", "granian")
def test_ctrl_c_after_sigterm_skips_the_drain(observe, server):
    """As two of a kind do. uvicorn ends the process by the first of them as soon as it has heard of the second."""
    skipped_the_drain(observe(server, "term and int"), server)
