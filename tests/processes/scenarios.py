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

GRANIAN_SETTLES = 0.5
"""Seconds after the start from which signals that granian receives can be held back."""


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


def stops(server, folder, scenario="", number=signal.SIGTERM, **settings):
    with serve(server, scenario, folder, **settings) as served:
        served.wait_ready()
        served.signal(number)
        return served.end()


def blocks_for_good(server, folder):
    """The event loop stays blocked, without a request to stop."""
    times = {"BANDMASTER_DRAIN_TIMEOUT": "1", "BANDMASTER_TERMINATION_GRACE": "4"}
    with serve(server, "blocked start", folder, **times) as served:
        served.signalled = time.monotonic()
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
            time.sleep(GRANIAN_SETTLES)
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


def ends_streams(server, folder):
    """SIGTERM with streams of all kinds in flight; the download ends after the drain has begun."""
    paths = ("endless", "download", "stream", *(() if server.endswith("trio") else ("feed", "polite-feed")))
    times = {"BANDMASTER_DRAIN_TIMEOUT": "6", "BANDMASTER_TERMINATION_GRACE": "30"}
    with serve(server, "", folder, **times) as served:
        served.wait_ready()
        streams = {path: Stream(served, path) for path in paths}
        with run_clients(*(stream.read for stream in streams.values())):
            assert all(stream.began.wait(PATIENCE) for stream in streams.values())
            served.signal()
            served.wait_output("draining")
            served.release()
        return served.end()


def cuts_a_stream(server, folder):
    """SIGTERM with a stream in flight that can't be told anything."""
    times = {"BANDMASTER_DRAIN_TIMEOUT": "1", "BANDMASTER_TERMINATION_GRACE": "30"}
    with serve(server, "", folder, **times) as served:
        served.wait_ready()
        deaf = Stream(served, "deaf")
        with run_clients(deaf.read, lambda: served.record("held", "/held", PATIENCE)):
            assert deaf.began.wait(PATIENCE)
            served.wait_fact("request began")
            served.signal()
            return served.end()


class Stream:
    """A client that reads a stream to its end."""

    def __init__(self, served, path):
        self.served, self.path = served, path
        self.began = threading.Event()

    def read(self):
        seen = self.served.observation
        connection = http.client.HTTPConnection("127.0.0.1", self.served.port, timeout=PATIENCE)
        connection.request("GET", f"/{self.path}")
        answer = connection.getresponse()
        text = answer.read(1)
        self.began.set()
        try:
            seen.text[self.path] = (text + answer.read()).decode()
            seen.status[self.path] = 200
        except http.client.IncompleteRead as error:
            seen.text[self.path] = (text + error.partial).decode()
            seen.status[self.path] = "IncompleteRead"
        except OSError as error:
            seen.status[self.path] = type(error).__name__
        self.served.note_time(self.path)
        connection.close()


def drains_websockets(server, folder):
    """SIGTERM with an idle WebSocket, and with an unfinished handshake of another."""
    with serve(server, "", folder) as served:
        served.wait_ready()
        seen = served.observation

        def connect(path):
            try:
                with websockets.sync.client.connect(f"ws://127.0.0.1:{served.port}{path}") as connection:
                    while True:
                        connection.recv(timeout=PATIENCE)
            except websockets.exceptions.ConnectionClosed as error:
                seen.status[path] = error.rcvd.code if error.rcvd else 1006
            except websockets.exceptions.InvalidStatus as error:
                seen.status[path] = error.response.status_code
            except Exception as error:
                seen.status[path] = type(error).__name__

        with run_clients(lambda: connect("/ws"), lambda: connect("/late")):
            served.wait_fact("handshake began")
            served.wait_fact("socket opened")
            time.sleep(GRANIAN_SETTLES)
            served.signal()
            served.wait_output("draining")
            served.release()
            return served.end()


def closes_connections(server, folder):
    """Requests on one connection before the drain, and on others in the drain delay."""
    with serve(server, "", folder, BANDMASTER_DRAIN_DELAY="3") as served:
        served.wait_ready()
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE)

        def ask(name, path):
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            headers = [value for header, value in answer.getheaders() if header.lower() == "connection"]
            served.observation.text[name] = ", ".join(headers)
            served.observation.status[name] = answer.status

        ask("before", "/")
        time.sleep(GRANIAN_SETTLES)
        served.signal()
        served.wait_output("draining")
        ask("while draining", "/")
        ask("set by the app", "/kept")
        connection.close()
        ask("readiness", "/readyz")
        connection.close()
        return served.end()


def signals_the_stop_again(server, folder):
    """A second signal while components stop, and nothing in flight before."""
    with serve(server, "slow stop", folder) as served:
        served.wait_ready()
        served.signal()
        served.wait_fact("slow stop")
        time.sleep(2 * ECHO)
        served.signal()
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
    "blocked start": blocks_for_good,
    "blocking stop for a while": lambda server, folder: stops(server, folder, "blocking stop for a while"),
    "hangup": lambda server, folder: stops(server, folder, number=signal.SIGHUP),
    "quit": lambda server, folder: stops(server, folder, number=signal.SIGQUIT),
    "streams": ends_streams,
    "deaf stream": cuts_a_stream,
    "websockets": drains_websockets,
    "connections": closes_connections,
    "second signal in the stop": signals_the_stop_again,
    "drain": drains,
    "two ints": hurried,
    "term and int": lambda server, folder: hurried(server, folder, signal.SIGTERM),
}
