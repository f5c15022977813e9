"""The scenarios: what a server process goes through, as a function of the server and a folder."""

import http.client
import os
import signal
import threading
import time

import websockets.exceptions
import websockets.sync.client
from tests.processes.server import PATIENCE, run_clients, serve


def fails_to_start(server, folder):
    with serve(server, "start failure", folder) as served:
        return served.end()


def stopped_while_starting(server, folder, *signals, scenario="hanging start"):
    with serve(server, scenario, folder) as served:
        served.wait_fact("start service")
        for number in signals or (signal.SIGTERM,):
            if served.signalled:
                time.sleep(0.2)
            served.signal(number)
        return served.end(2.0 if server == "hypercorn" else PATIENCE)


def crashes(server, folder):
    with serve(server, "crash", folder) as served:
        served.wait_ready()
        served.signalled = time.monotonic()
        served.record("crash", "/crash")
        served.wait_fact("stop database")
        served.record("after", "/", 1.0)
        served.record("live", "/livez", 1.0)
        if server.startswith("hypercorn"):
            served.signal()  # it hears of the crash from nobody
        return served.end()


def stops(server, folder, scenario="", number=signal.SIGTERM):
    with serve(server, scenario, folder) as served:
        served.wait_ready()
        served.signal(number)
        return served.end()


def drains(server, folder):
    """A WebSocket, a stream and a request in flight, then SIGTERM, then a new connection."""
    with serve(server, "", folder) as served:
        served.wait_ready()
        welcome = threading.Event()
        streaming = threading.Event()

        def web_socket():
            with websockets.sync.client.connect(f"ws://127.0.0.1:{served.port}/ws", close_timeout=1) as connection:
                connection.recv()
                welcome.set()
                try:
                    connection.recv(timeout=10)
                except websockets.exceptions.ConnectionClosed as closed:
                    served.observation.close_code = closed.rcvd.code if closed.rcvd else 1006
                except TimeoutError:
                    served.observation.close_code = 0
                served.observation.at["socket"] = time.monotonic() - served.signalled

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
            served.observation.at["stream"] = time.monotonic() - served.signalled
            connection.close()

        with run_clients(web_socket, stream, lambda: served.record("slow", "/slow")):
            served.wait_fact("slow began")
            assert welcome.wait(10)
            assert streaming.wait(10)
            served.signal()
            time.sleep(0.4)
            served.record("new", "/", 1.0)
        return served.end()


def hurried(server, folder, first=signal.SIGINT):
    """A long request in flight, a signal and then Ctrl-C, and a stop that takes its time."""
    with serve(server, "slow stop", folder) as served:
        served.wait_ready()
        with run_clients(lambda: served.record("slow", "/slow?seconds=15", 12.0)):
            served.wait_fact("slow began")
            served.signal(first)
            time.sleep(0.4)
            served.signal(signal.SIGINT)
            served.end()
        return served.end()


def interrupted_from_the_terminal(server, folder):
    """As Ctrl-C does it: the signal goes to the whole group."""
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
        server, folder, signal.SIGINT, signal.SIGINT
    ),
    "blocking start": lambda server, folder: stopped_while_starting(server, folder, scenario="blocking start"),
    "stubborn start": lambda server, folder: stopped_while_starting(server, folder, scenario="stubborn start"),
    "crash": crashes,
    "clean": stops,
    "stop failure": lambda server, folder: stops(server, folder, "stop failure"),
    "hanging stop": lambda server, folder: stops(server, folder, "hanging stop"),
    "stubborn stop": lambda server, folder: stops(server, folder, "stubborn stop"),
    "blocking stop": lambda server, folder: stops(server, folder, "blocking stop"),
    "drain": drains,
    "two ints": hurried,
    "term and int": lambda server, folder: hurried(server, folder, signal.SIGTERM),
}
