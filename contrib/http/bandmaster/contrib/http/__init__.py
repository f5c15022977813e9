"""One shared HTTP client for each application: bounded, with deadlines and retries, closed with the application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.kernel import export_lazily

if TYPE_CHECKING:
    from bandmaster.contrib.http.bodies import read_limited as read_limited
    from bandmaster.contrib.http.call_observers import CallAttempt as CallAttempt
    from bandmaster.contrib.http.call_observers import CallEnd as CallEnd
    from bandmaster.contrib.http.call_observers import CallObserver as CallObserver
    from bandmaster.contrib.http.call_observers import ReportEnd as ReportEnd
    from bandmaster.contrib.http.client import HttpClient as HttpClient
    from bandmaster.contrib.http.client import open_client as open_client
    from bandmaster.contrib.http.component import http as http
    from bandmaster.contrib.http.component import http_client as http_client
    from bandmaster.contrib.http.errors import HttpBodyTooLargeError as HttpBodyTooLargeError
    from bandmaster.contrib.http.errors import HttpClosedError as HttpClosedError
    from bandmaster.contrib.http.errors import HttpDeadlineError as HttpDeadlineError
    from bandmaster.contrib.http.errors import HttpPoolTimeoutError as HttpPoolTimeoutError
    from bandmaster.contrib.http.errors import HttpRefusedError as HttpRefusedError
    from bandmaster.contrib.http.errors import HttpUnavailableError as HttpUnavailableError
    from bandmaster.contrib.http.httpx_component import plain_httpx as plain_httpx
    from bandmaster.contrib.http.pool_transport import HttpPoolGauge as HttpPoolGauge
    from bandmaster.contrib.http.settings import HttpSettings as HttpSettings

# The module of each public name. A name is imported at its first use (PEP 562): code that reads the settings needs no
# client.
export_lazily(
    __name__,
    {
        "bodies": ["read_limited"],
        "call_observers": ["CallAttempt", "CallEnd", "CallObserver", "ReportEnd"],
        "client": ["HttpClient", "open_client"],
        "component": ["http", "http_client"],
        "errors": [
            "HttpBodyTooLargeError",
            "HttpClosedError",
            "HttpDeadlineError",
            "HttpPoolTimeoutError",
            "HttpRefusedError",
            "HttpUnavailableError",
        ],
        "httpx_component": ["plain_httpx"],
        "pool_transport": ["HttpPoolGauge"],
        "settings": ["HttpSettings"],
    },
)
