"""Run a program's host in an application, with one request, and print each component and warning."""

import logging
import time

import structlog
from starlette.testclient import TestClient

from bandmaster.kernel import KernelSettings, create_app, events


def run(host, ask):
    """Start the application around the host, ask one question, stop the application."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    app = create_app(host, discover=False, listeners=[show], settings=KernelSettings(timeline=False))
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        ask(client)
    print("seconds", round(time.process_time(), 1))


def show(event):
    """Print the events that name the started components."""
    match event:
        case events.ComponentStarted(component=name):
            print("component", name)
        case events.MountedAppLeftToHost(component=name):
            print("left to the host", name)
        case events.Warned(component=name, message=message):
            print("warning", name, message)
