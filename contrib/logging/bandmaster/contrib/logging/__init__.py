"""The log of a whole application: one format for every library and server, the request's fields in every event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.kernel import export_lazily

if TYPE_CHECKING:
    from bandmaster.contrib.logging.component import access_events as access_events
    from bandmaster.contrib.logging.component import logging as logging
    from bandmaster.contrib.logging.component import redactor as redactor
    from bandmaster.contrib.logging.log import Log as Log
    from bandmaster.contrib.logging.log import configure_logging as configure_logging
    from bandmaster.contrib.logging.pipeline import LogEvent as LogEvent
    from bandmaster.contrib.logging.sentry.settings import SentrySettings as SentrySettings
    from bandmaster.contrib.logging.settings import LogSettings as LogSettings

# The module of each public name. A name is imported at its first use (PEP 562): code that reads the settings needs no
# structlog.
export_lazily(
    __name__,
    {
        "component": ["access_events", "logging", "redactor"],
        "log": ["Log", "configure_logging"],
        "pipeline": ["LogEvent"],
        "sentry.settings": ["SentrySettings"],
        "settings": ["LogSettings"],
    },
)
