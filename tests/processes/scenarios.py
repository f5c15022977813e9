"""The scenarios: functions that start a server, send requests and signals, and return an observation."""

import http.client
import os
import signal
import threading
import time

import websockets.exceptions
import websockets.sync.client
from tests.processes.server import PATIENCE, run_clients, serve

from bandmaster.kernel.shutdown.escalation import ECHO


def fails_to_start(server, folder):
    with serve(server, "start failure", folder) as served:
        return served.end()


def stopped_while_starting(server, folder, *signals, scenario="hanging start"):
    with serve(server, scenario, folder) as served:
        served.wait_fact("start service")
        for number in signals or (signal.SIGTERM,):
            if served.signalled:
                served.wait_output("stop requested")
                # A signal shortly after another one counts as its echo.
                time.sleep(2 * ECHO)
            served.signal(number)
        return served.end(2.0 if server == "hypercorn" else PATIENCE)


def crashes(server, folder):
    with serve(server, "crash", folder) as served:
        served.wait_ready()
        served.signalled = time.monotonic()
        served.record("crash", "/crash")
        served.wait_fact("stop database")
        served.record("after", "/")
        served.record("live", "/livez")
        if server == "hypercorn":
            served.signal()  # hypercorn's main process doesn't notice the crash
        return served.end()


def stops(server, folder, scenario="", **settings):
    with serve(server, scenario, folder, **settings) as served:
        served.wait_ready()
        served.signal()
        return served.end()


def drains(server, folder):
    """SIGTERM with a WebSocket, a stream and a request in flight, then a new connection, then the request ends."""
    with serve(server, "", folder) as served:
        served.wait_ready()
        connected, streaming, closed, streamed = [threading.Event() for _ in range(4)]

        def web_socket():
            with websockets.sync.client.connect(f"ws://127.0.0.1:{served.port}/ws", close_timeout=1) as connection:
                connection.recv()
                connected.set()
                try:
                    connection.recv(timeout=10)
                except websockets.exceptions.ConnectionClosed as error:
                    served.observation.close_code = error.rcvd.code if error.rcvd else 1006
                except TimeoutError:
                    served.observation.close_code = 0
                served.note_time("socket")
                closed.set()

        def stream():
            connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=12)
            connection.request("GET", "/stream")
            answer = connection.getresponse()
            first = answer.read(1)
            streaming.set()
            try:
                served.observation.text["stream"] = (first + answer.read()).decode()
            except (OSError, http.client.HTTPException) as error:
                served.observation.text["stream"] = type(error).__name__
            served.note_time("stream")
            streamed.set()
            connection.close()

        with run_clients(web_socket, stream, lambda: served.record("held", "/held", PATIENCE)):
            served.wait_fact("request began")
            assert all(event.wait(PATIENCE) for event in (connected, streaming))
            served.signal()
            if server == "hypercorn":
                # Its main process keeps the listening socket open, but nothing accepts the connection. The WebSocket
                # and the stream end later, with hypercorn's graceful timeout.
                served.record_until("TimeoutError", "new", "/", 1.0)
            else:
                served.record_until("ConnectionRefusedError", "new", "/")
                closed.wait(PATIENCE)
                streamed.wait(PATIENCE)
            served.release()
        return served.end()


def hurried(server, folder, first=signal.SIGINT):
    """A request in flight that doesn't end, a signal and then Ctrl-C, and a component with a slow stop."""
    # granian's main process forwards only the first signal, so that its worker waits for the whole drain timeout.
    short = {"BANDMASTER_DRAIN_TIMEOUT": "2", "BANDMASTER_TERMINATION_GRACE": "5"} if server == "granian" else {}
    with serve(server, "slow stop", folder, **short) as served:
        served.wait_ready()
        with run_clients(lambda: served.record("held", "/held", 2 * PATIENCE)):
            served.wait_fact("request began")
            served.signal(first)
            served.wait_fact("drain hook")
            # A signal shortly after another one counts as its echo.
            time.sleep(2 * ECHO)
            served.signal(signal.SIGINT)
            return served.end()


def interrupted_from_the_terminal(server, folder):
    """Send SIGINT to the whole process group, as Ctrl-C in a terminal does."""
    with serve(server, "", folder) as served:
        served.wait_ready()
        served.signalled = time.monotonic()
        os.killpg(served.process.pid, signal.SIGINT)
        return served.end()


def finds_the_port_taken(server, folder):
    with serve(server, "", folder) as first:
        first.wait_ready()
        with serve(server, "", folder / "second", BANDMASTER_SERVER_PORT=str(first.port)) as served:
            served.observation.text["port"] = str(first.port)
            return served.end()


SCENARIOS = {
    "ctrl-c": interrupted_from_the_terminal,
    "port taken": finds_the_port_taken,
    "start failure": fails_to_start,
    "term while starting": stopped_while_starting,
    "two ints while starting": lambda server, folder: stopped_while_starting(
        server, folder, signal.SIGINT, signal.SIGINT, scenario="slow rollback"
    ),
    "blocking start": lambda server, folder: stopped_while_starting(server, folder, scenario="blocking start"),
    "stubborn start": lambda server, folder: stopped_while_starting(server, folder, scenario="stubborn start"),
    "crash": crashes,
    "clean": stops,
    "stop failure": lambda server, folder: stops(server, folder, "stop failure"),
    "hanging stop": lambda server, folder: stops(server, folder, "hanging stop"),
    "stubborn stop": lambda server, folder: stops(server, folder, "stubborn stop"),
    # This one waits for the end of the grace.
    "blocking stop": lambda server, folder: stops(
        server, folder, "blocking stop", BANDMASTER_DRAIN_TIMEOUT="1", BANDMASTER_TERMINATION_GRACE="4"
    ),
    "drain": drains,
    "two ints": hurried,
    "term and int": lambda server, folder: hurried(server, folder, signal.SIGTERM),
}
