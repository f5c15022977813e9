"""Real servers with an application that fails, hangs, crashes, drains and stops.

The launcher meets every expectation. The other servers meet those that they can: the tables of the tests name the
differences. Under each of them the process ends within the grace and reports the reason.

No test bounds a duration from above by a small number. An observation has an exit code only if the process ended
within `PATIENCE`, which is shorter than the drain timeout, the grace and the waits of the application, by far.
"""

import json
import re
import signal
import sys

import pytest

LAUNCHER = "launcher"
FOREIGN = ("uvicorn", "hypercorn", "granian")
SERVERS = (LAUNCHER, *FOREIGN)
LAUNCHED = (LAUNCHER, "launcher/uvicorn-asyncio", "launcher/hypercorn", "launcher/hypercorn-trio", "launcher/granian")

HEARING = ("uvicorn", "granian")
"""The other servers where the application's process receives the signal."""

WAITS_FOR_EVER = {"hypercorn"} if sys.version_info >= (3, 12, 1) else set()
"""From Python 3.12.1 on hypercorn's own command stops when the last client has left (pgjones/hypercorn#308)."""

STARTED = ["start database", "start service"]
STOPPED = ["stop service", "stop database"]

pytestmark = pytest.mark.process


def on(scenario, *servers):
    """Parametrize a test of one scenario with servers."""

    def mark(test):
        return pytest.mark.parametrize("server", servers)(pytest.mark.scenario(scenario)(test))

    return mark


def select_facts(seen, *facts):
    """Return those of the facts that happened, in their order."""
    return [fact for fact in seen.facts if fact in facts]


@on("start failure", *SERVERS)
@pytest.mark.requirement("FA-1", "FA-14", "XC-L4", "XC-C2")
def test_a_start_that_fails(observe, server):
    """The started components are stopped, the cause is reported, and no server serves the dead application."""
    seen = observe(server, "start failure")
    # hypercorn 0.18 exits with 0 though its own worker has reported the failure to its main process.
    assert seen.code == {LAUNCHER: 70, "uvicorn": 3, "hypercorn": 0, "granian": 1}[server]
    assert seen.facts == [*STARTED, "stop database"]
    assert "no luck today" in seen.output


@on("start failure", LAUNCHER)
def test_the_report_of_a_failed_start(observe, server):
    """The cause comes first, with component, provenance, and the traceback without the kernel's own frames."""
    report = observe(server, "start failure").output.partition("bandmaster: The start failed: ")[2]
    assert report.startswith("'service' (in code, __main__:service) failed to start: RuntimeError: no luck today\n")
    assert 'raise RuntimeError("no luck today")' in report
    assert "bandmaster/kernel/" not in report
    assert "anyio" not in report


@on("term while starting", *SERVERS)
@pytest.mark.requirement("FA-14", "XC-L4")
def test_sigterm_while_a_start_hangs(observe, server):
    """The start is cancelled and rolled back; nothing waits for the start timeout of 60 seconds."""
    seen = observe(server, "term while starting")
    if server == "hypercorn":
        # Its main process doesn't forward the signal, and waits 60 seconds for the worker's start.
        assert (seen.code, seen.facts) == (None, STARTED)
        return
    assert seen.code == {LAUNCHER: 143, "uvicorn": 3, "granian": 0}[server]
    assert seen.facts == [*STARTED, "stop database"]


@on("two ints while starting", LAUNCHER)
def test_ctrl_c_twice_while_a_start_hangs(observe, server):
    """The second Ctrl-C changes nothing about the rollback."""
    seen = observe(server, "two ints while starting")
    assert seen.code == 130
    assert seen.facts == [*STARTED, "stop database"]


@on("blocking start", LAUNCHER, "launcher/hypercorn-trio", *HEARING)
def test_sigterm_while_a_start_blocks_the_event_loop(observe, server):
    """The start is rolled back as soon as the event loop is free, and the line that has blocked it is in the log."""
    seen = observe(server, "blocking start")
    assert seen.code == {LAUNCHER: 143, "launcher/hypercorn-trio": 143, "uvicorn": 3, "granian": 0}[server]
    assert seen.facts == [*STARTED, *STOPPED]
    assert "in place of 1 s at most, since the event loop was blocked at" in seen.output
    assert "time.sleep(4)" in seen.output


@on("blocked start", LAUNCHER, "launcher/hypercorn-trio", "uvicorn")
def test_a_start_that_blocks_the_event_loop_for_good(observe, server):
    """The process ends without a request to stop, a grace after the deadline, and names the blocked line."""
    seen = observe(server, "blocked start")
    assert (seen.code, seen.facts) == (70, STARTED)
    assert "the event loop has been blocked for 3.8 s past the deadline of 'service'" in seen.output
    assert re.search(r'The event loop is blocked at\n  File ".*served.py", line \d+, in service\n', seen.output)


@on("blocking stop for a while", LAUNCHER, "launcher/hypercorn-trio", *HEARING)
def test_a_stop_that_blocks_the_event_loop_past_its_deadline(observe, server):
    """The stop can't be cancelled, and goes on; the line that has blocked the event loop is in the log."""
    seen = observe(server, "blocking stop for a while")
    assert select_facts(seen, *STOPPED) == STOPPED
    assert "in place of 1 s at most, since the event loop was blocked at" in seen.output
    assert "time.sleep(2)" in seen.output


@on("stubborn start", LAUNCHER, "uvicorn")
def test_sigterm_while_a_start_ignores_its_cancellation(observe, server):
    """The component is named after the stop deadline and abandon_after, and the process ends."""
    seen = observe(server, "stubborn start")
    assert seen.code == 70
    assert seen.facts == [*STARTED, "stop database"]
    assert "only 'service' left, which ignored the cancellation" in seen.output


@on("port taken", LAUNCHER, "launcher/granian")
def test_a_port_that_is_taken(observe, server):
    """The process exits with 78 before anything starts, and names a remedy; granian doesn't share the port."""
    seen = observe(server, "port taken")
    port = seen.text["port"]
    assert seen.code == 78
    assert seen.facts == []
    assert seen.output.startswith(
        f"bandmaster: 127.0.0.1:{port} is taken: another process listens there already. Stop it "
        f"(`ss -ltnp 'sport = :{port}'` names it), or choose another port with --port or BANDMASTER_SERVER_PORT: "
    )


@on("crash", *SERVERS)
@pytest.mark.requirement("XC-L4")
def test_a_component_that_crashes_while_serving(observe, server):
    """From then on every response is a 503, the other components are stopped in order, and the process ends."""
    seen = observe(server, "crash")
    assert seen.facts == [*STARTED, "stop database"]
    # A closed connection means the same to a client as a 503.
    assert seen.status["after"] in (503, "ConnectionRefusedError", "ConnectionResetError", "RemoteDisconnected")
    assert "died while serving" in seen.output
    # hypercorn's worker can't end its main process: both paths answer 503 until the process gets a signal.
    assert seen.code == {LAUNCHER: 70, "uvicorn": -signal.SIGTERM, "hypercorn": 0, "granian": 1}[server]
    if server == "hypercorn":
        assert (seen.status["after"], seen.status["live"]) == (503, 503)


@on("clean", *SERVERS)
@pytest.mark.requirement("FA-1", "FA-13", "XC-L2", "XC-L3", "CF-30")
def test_a_clean_stop(observe, server):
    """The stop is the reverse of the start, and the exit code is 0; uvicorn always ends by the signal."""
    seen = observe(server, "clean")
    assert seen.code == (-signal.SIGTERM if server == "uvicorn" else 0)
    assert select_facts(seen, *STARTED, *STOPPED) == [*STARTED, *STOPPED]


@on("ctrl-c", LAUNCHER)
def test_ctrl_c_in_a_terminal(observe, server):
    """The signal to the whole process group counts as one request to stop."""
    seen = observe(server, "ctrl-c")
    assert seen.code == 0
    assert select_facts(seen, *STOPPED) == STOPPED


@on("stop failure", *SERVERS)
@pytest.mark.requirement("XC-L4")
def test_a_stop_that_fails(observe, server):
    """The other components are stopped, and the error is logged; only the launcher reports it by the exit code."""
    seen = observe(server, "stop failure")
    assert seen.code == {LAUNCHER: 70, "uvicorn": -signal.SIGTERM, "hypercorn": 0, "granian": 0}[server]
    assert select_facts(seen, *STARTED, *STOPPED) == [*STARTED, "stop database"]
    assert "no luck in the end" in seen.output


@on("hanging stop", LAUNCHER, "uvicorn")
def test_a_stop_that_hangs(observe, server):
    """The stop is cancelled at its deadline, one second here, and the other components are stopped."""
    seen = observe(server, "hanging stop")
    assert seen.code == {LAUNCHER: 70, "uvicorn": -signal.SIGTERM}[server]
    assert select_facts(seen, "hang", *STOPPED) == ["hang", "stop database"]
    assert 0.9 < seen.took


@on("stubborn stop", LAUNCHER, "uvicorn", "granian")
def test_a_stop_that_ignores_its_cancellation(observe, server):
    """The component is named and the process ends as soon as only that component is left.

    granian's main process ends with 0.
    """
    seen = observe(server, "stubborn stop")
    assert seen.code == {LAUNCHER: 70, "uvicorn": 70, "granian": 0}[server]
    assert select_facts(seen, "hang", *STOPPED) == ["hang", "stop database"]
    assert "only 'service' left, which ignored the cancellation" in seen.output


@on("blocking stop", LAUNCHER, "uvicorn")
def test_a_stop_that_blocks_the_event_loop(observe, server):
    """The watchdog ends the process a little before the end of the grace, and reports the blocked line."""
    seen = observe(server, "blocking stop")
    assert seen.code == 70
    assert "the grace of 4 s for the stop is over" in seen.output
    assert "'service' is left, stopping" in seen.output
    assert "time.sleep(60)" in seen.output
    # tests/kernel/shutdown/test_watchdog.py proves the upper bound, with a clock of its own.
    assert 3 < seen.took


@on("drain", *SERVERS, *LAUNCHED[1:])
def test_a_request_in_flight_is_answered(observe, server):
    """A request that is in flight at SIGTERM gets its response, and the components are stopped afterwards."""
    seen = observe(server, "drain")
    assert (seen.status["held"], seen.text["held"]) == (200, "done")
    assert select_facts(seen, "request ended", *STOPPED) == ["request ended", *STOPPED]
    assert seen.code == (-signal.SIGTERM if server == "uvicorn" else 0)


@on("drain", *SERVERS, *LAUNCHED[1:])
def test_a_new_connection_while_draining(observe, server):
    """A new connection is refused during the drain, so that the client turns to another instance."""
    seen = observe(server, "drain")
    # hypercorn's main process also holds the listening socket: the connection is never accepted, and times out.
    assert seen.status["new"] == ("TimeoutError" if server == "hypercorn" else "ConnectionRefusedError")
    assert seen.at["new"] < seen.at["held"]


@on("drain", *SERVERS, *LAUNCHED[1:])
def test_an_open_websocket_is_closed_when_the_drain_begins(observe, server):
    """The server closes a WebSocket with 1001, going away, while another request is still in flight."""
    seen = observe(server, "drain")
    if server in WAITS_FOR_EVER:
        assert seen.close_code == 0  # the connection is never closed
        return
    # hypercorn's worker learns of the signal only when its time for draining is over.
    assert seen.close_code in ((1001, 1006, 1011) if server == "hypercorn" else (1001,))
    if server != "hypercorn":
        assert seen.at["socket"] < seen.at["held"]


@on("drain", LAUNCHER, "uvicorn", "granian", *LAUNCHED[1:])
def test_a_long_stream_learns_of_the_drain(observe, server):
    """A stream that waits for the drain ends while another request is still in flight."""
    seen = observe(server, "drain")
    assert seen.text["stream"].endswith("bye")
    assert seen.at["stream"] < seen.at["held"]
    assert "drain hook" in seen.facts


@on("streams", *LAUNCHED, *HEARING)
def test_streams_that_know_nothing_of_the_drain(observe, server):
    """A stream with an end may reach it; one without an end is ended before a component stops; the exit is clean."""
    seen = observe(server, "streams")
    assert (seen.status["download"], seen.text["download"][-3:]) == (200, "end")
    assert seen.text["stream"].endswith("bye")
    assert select_facts(seen, "endless stream ended", *STOPPED) == ["endless stream ended", *STOPPED]
    assert "a stream used a closed database" not in seen.facts
    # Cut off, and not completed: a client must not take a part for the whole.
    assert seen.status["endless"] == "IncompleteRead"
    # Half of drain_timeout, so that downloads have some time.
    assert 2.5 < seen.at["endless"]
    assert seen.code == (-signal.SIGTERM if server == "uvicorn" else 0)


@on("streams", *(server for server in LAUNCHED if not server.endswith("trio")), *HEARING)
def test_event_streams_of_a_library_that_looks_for_uvicorn(observe, server):
    """sse-starlette ends its streams at the drain, also the one that says goodbye, and long before others."""
    seen = observe(server, "streams")
    assert (seen.status["feed"], seen.status["polite-feed"]) == (200, 200)
    assert seen.text["polite-feed"].rstrip().endswith("data: bye")
    assert max(seen.at["feed"], seen.at["polite-feed"]) < seen.at["endless"]
    assert "Traceback" not in seen.output


@on("deaf stream", *LAUNCHED, *FOREIGN)
def test_what_goes_on_after_the_drain_is_cancelled(observe, server):
    """A stream that can't be told anything, and a request without an answer, end before a component stops."""
    seen = observe(server, "deaf stream")
    assert "a stream used a closed database" not in seen.facts
    assert select_facts(seen, "request cut", *STOPPED) == ["request cut", *STOPPED]
    assert seen.status["deaf"] == "IncompleteRead"
    if server in LAUNCHED:
        assert seen.code == 143
    if server != "hypercorn":  # which cancels both itself after its own time
        assert (seen.status["held"], json.loads(seen.text["held"])["status"]) == (503, 503)
        assert "Traceback" not in seen.output


@on("websockets", *LAUNCHED, *HEARING)
def test_a_websocket_whose_handshake_is_not_over(observe, server):
    """The handshake is refused, the idle WebSocket beside it is closed, and the exit is clean."""
    seen = observe(server, "websockets")
    assert seen.status == {"/ws": 1001, "/late": 503}
    assert "socket closed" in seen.facts
    assert seen.code == (-signal.SIGTERM if server == "uvicorn" else 0)
    assert "Traceback" not in seen.output


@on("connections", *LAUNCHED, *HEARING)
def test_connections_are_closed_while_draining(observe, server):
    """Every response while draining has one Connection header, the application's own if there is one."""
    seen = observe(server, "connections")
    assert seen.text == {"before": "", "while draining": "close", "set by the app": "keep-alive", "readiness": "close"}
    assert seen.status == {"before": 200, "while draining": 200, "set by the app": 200, "readiness": 503}


@pytest.mark.parametrize("scenario", ["hangup", "quit"])
@pytest.mark.parametrize("server", [*LAUNCHED, "uvicorn"])
def test_the_end_of_the_terminal(observe, server, scenario):
    """SIGHUP and SIGQUIT drain and stop as SIGTERM does."""
    seen = observe(server, scenario)
    assert select_facts(seen, "drain hook", *STOPPED) == ["drain hook", *STOPPED]
    assert seen.code == (-signal.SIGTERM if server == "uvicorn" else 0)


@on("second signal in the stop", *LAUNCHED)
def test_a_second_signal_that_cuts_nothing_short(observe, server):
    """While components stop, a second signal changes nothing, not even the exit code."""
    seen = observe(server, "second signal in the stop")
    assert select_facts(seen, *STOPPED) == STOPPED
    assert seen.code == 0


def check_the_drain_was_skipped(seen, server):
    """Check that the process ended, though the request in flight never does, and that the components were stopped."""
    assert "request ended" not in seen.facts
    assert select_facts(seen, *STOPPED) == STOPPED
    if server in LAUNCHED:
        assert seen.code == 130
        assert select_facts(seen, "request cut", *STOPPED) == ["request cut", *STOPPED]
    assert seen.code is not None


@on("two ints", LAUNCHER, "launcher/hypercorn", "launcher/granian", "uvicorn", "granian")
def test_a_second_ctrl_c_skips_the_drain(observe, server):
    """The request in flight is cancelled, and its clean-up and the stops are completed."""
    check_the_drain_was_skipped(observe(server, "two ints"), server)


@on("term and int", LAUNCHER, "uvicorn", "granian")
def test_ctrl_c_after_sigterm_skips_the_drain(observe, server):
    """Two different signals act as two of the same kind."""
    check_the_drain_was_skipped(observe(server, "term and int"), server)
