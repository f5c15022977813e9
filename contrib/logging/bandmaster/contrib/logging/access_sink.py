"""Make an event of each record of the access log."""

from __future__ import annotations

import logging

from bandmaster.contrib.logging.pipeline import INFO, WARNING, Pipeline
from bandmaster.contrib.web import AccessRecord

ACCESS_LOGGER = "bandmaster.web.access"


class AccessEvents:
    """The sink of the access log, while the log of the process is this package's."""

    def __init__(self, pipeline: Pipeline, *, is_active: bool) -> None:
        self.is_active = is_active
        """Whether the access log is written here."""
        self._pipeline = pipeline
        self._is_enabled = logging.getLogger(ACCESS_LOGGER).isEnabledFor

    def write(self, record: AccessRecord) -> None:
        """Write the event that closes a request. Never limited, since there is one for each request."""
        level = INFO if record.level == "info" else WARNING
        if not self._is_enabled(level):
            return
        fields = record.fields()
        fields["duration"] = round(record.duration, 6)
        self._pipeline.emit(level, ACCESS_LOGGER, record.event, fields, created=record.time, limited=False)
