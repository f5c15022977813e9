"""The client of Sentry's SDK: without integrations, patches, spans and headers, and with redaction in the transport."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bandmaster.contrib.logging.sentry.envelopes import MAX_DEPTH, MAX_ITEMS, MAX_TEXT, redact_envelope
from bandmaster.contrib.logging.sentry.log_events import OWN_LOGGER
from bandmaster.contrib.logging.sentry.reported import note_reported, was_reported
from bandmaster.contrib.logging.sentry.settings import SentrySettings
from bandmaster.contrib.logging.sentry.surroundings import add_surroundings, find_trace
from bandmaster.kernel import KernelSettings, Redactor, get_logger

if TYPE_CHECKING:
    # The import of the SDK opens a socket, so functions import the SDK where they need a class or a function.
    import sentry_sdk
    from sentry_sdk.envelope import Envelope
    from sentry_sdk.transport import HttpTransport

_CALL_TIMEOUT = 5.0
"""Seconds that one call to the server may take. The SDK's 30 would keep the thread alive long after a stop."""


def make_transport(redactor: Redactor) -> type[HttpTransport]:
    """The class of a transport that sends envelopes, redacted before they are queued, in a thread of its own."""
    from sentry_sdk.transport import HttpTransport

    class RedactingTransport(HttpTransport):
        """Sends envelopes, redacted before they are queued, in a thread of its own."""

        TIMEOUT = _CALL_TIMEOUT  # type: ignore[assignment]  # urllib3 takes fractions as well

        def __init__(self, options: dict[str, Any]) -> None:
            super().__init__(options)
            self._has_ended = False
            self.lost = 0
            """Number of envelopes that the server didn't take."""

        def capture_envelope(self, envelope: Envelope) -> None:
            """Redact and queue an envelope."""
            super().capture_envelope(redact_envelope(envelope, redactor))

        def on_dropped_event(self, _reason: str) -> None:
            """Count an envelope that was lost, and tell of the first."""
            self.lost += 1
            if self.lost == 1:
                get_logger(OWN_LOGGER).warning(
                    "an error can't be sent to Sentry",
                    reason=_reason,
                    hint="the number of lost ones is told at the stop",
                )

        def _send_envelope(self, envelope: Envelope) -> None:
            # The SDK's thread ends when the queue is empty. With a server that hangs, that is long after the stop.
            if not self._has_ended:
                super()._send_envelope(envelope)

        def kill(self) -> None:
            """End the thread, and close the connections."""
            self._has_ended = True
            super().kill()
            pool = getattr(self, "_pool", None)  # the SDK leaves its connections to the garbage collector
            if pool is not None:
                pool.clear()

    return RedactingTransport


def make_client(settings: SentrySettings, kernel: KernelSettings, redactor: Redactor | None) -> sentry_sdk.Client:
    """A client that sends events and does nothing by itself."""
    import sentry_sdk

    assert settings.dsn is not None
    bounded = (redactor or Redactor()).bounded(max_depth=MAX_DEPTH, max_items=MAX_ITEMS, max_text=MAX_TEXT)
    return sentry_sdk.Client(
        dsn=settings.dsn.get_secret_value(),
        environment=settings.environment or kernel.environment,
        release=settings.release or "",  # without a value the SDK runs git
        sample_rate=settings.sample_rate,
        max_breadcrumbs=settings.breadcrumbs,
        transport=make_transport(bounded),
        # Errors reach Sentry through the log. Integrations would patch servers, clients and frameworks for it.
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[],
        traces_sample_rate=None,
        trace_propagation_targets=[],
        auto_session_tracking=False,
        send_client_reports=False,  # what is lost is in the log
        enable_backpressure_handling=False,
        max_request_body_size="never",
        include_local_variables=False,
        include_source_context=settings.source_lines,
        before_send=_before_send,
        debug=False,
        spotlight=False,
    )


@contextmanager
def activate(client: sentry_sdk.Client) -> Iterator[None]:
    """Let the functions of the SDK use a client, until the block ends. The earlier one is restored then."""
    import sentry_sdk
    import sentry_sdk.scope

    scope = sentry_sdk.get_global_scope()
    before = scope.client
    had_trace = sentry_sdk.scope.has_external_propagation_context()
    if before.is_active():
        get_logger(OWN_LOGGER).warning(
            "sentry_sdk.init was called before, and that client is replaced while the application runs",
            hint="leave the call out, or SENTRY_DSN",
        )
    scope.set_client(client)
    if not had_trace:
        # The ids of events are those of our traces, and the SDK makes up none.
        sentry_sdk.scope.register_external_propagation_context(find_trace)
    try:
        yield
    finally:
        if not had_trace:
            sentry_sdk.scope.remove_external_propagation_context()
        scope.set_client(before)


def close_client(client: sentry_sdk.Client, timeout: float) -> None:
    """Send the events that are left, for ``timeout`` seconds at the most, and end the client. Blocks."""
    transport = client.transport
    waiting: list[int] = []
    done = threading.Event()

    def close() -> None:
        client.close(timeout, lambda pending, _timeout: waiting.append(pending))
        done.set()

    # The SDK doesn't keep the deadline in each state, so the thread is left behind when it is over.
    threading.Thread(target=close, name="sentry-close", daemon=True).start()
    began = time.monotonic()
    is_late = not done.wait(timeout + 0.1) or (bool(waiting) and time.monotonic() - began >= timeout * 0.95)
    lost = getattr(transport, "lost", 0)
    if is_late or lost:
        get_logger(OWN_LOGGER).warning(
            "errors weren't sent to Sentry", waiting=waiting[-1] if is_late and waiting else 0, lost=lost
        )


def _before_send(event: Any, hint: dict[str, Any]) -> Any:
    """Drop a second event of one error, and add the surroundings to others."""
    exc_info = hint.get("exc_info")
    error = exc_info[1] if isinstance(exc_info, tuple) else None
    if isinstance(error, BaseException):
        if was_reported(error):
            return None
        note_reported(error)
    if not event.get("release"):
        event.pop("release", None)
    add_surroundings(event)
    return event
