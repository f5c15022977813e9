"""Report the failures of components and of background services, from the kernel's events."""

from __future__ import annotations

from typing import Any

from bandmaster.kernel.events import ComponentEvent, ComponentStartRetrying, Event

KERNEL_LOGGER = "bandmaster.kernel"


def report_failure(event: Event) -> None:
    """Report the error of an event, if any. A start that will be tried again isn't a failure yet."""
    error = getattr(event, "error", None)
    if not isinstance(error, BaseException) or isinstance(event, ComponentStartRetrying):
        return
    # Imported here, since the import of the SDK opens a socket.
    import sentry_sdk
    from sentry_sdk.utils import event_from_exception

    options = sentry_sdk.get_client().options
    made, hint = event_from_exception(error, client_options=options, mechanism={"type": "kernel", "handled": False})
    shown: dict[str, Any] = {**made, "logger": KERNEL_LOGGER, "extra": {"happening": type(event).__name__}}
    if isinstance(event, ComponentEvent):
        shown["tags"] = {"component": event.component}
    sentry_sdk.capture_event(shown, hint)  # type: ignore[arg-type]  # a TypedDict, of which these are some keys
