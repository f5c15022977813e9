"""The labels of a message, by name. Pure.

TaskIQ sends labels as text beside a message's arguments. Labels that only this package reads begin with ``bm_``.
"""

from __future__ import annotations

RESERVED_PREFIX = "bm_"
"""Applications can't set labels that begin with this."""

DELAY = "delay"
"""Seconds before a message may be delivered; the name that TaskIQ's brokers use."""
QUEUE = "queue_name"
"""The queue of a message, in place of its broker's own; TaskIQ's name."""
TIMEOUT = "timeout"
"""Seconds that a task may run; TaskIQ's name."""
SCHEDULE = "schedule_id"
"""The schedule that sent the message; TaskIQ's name."""

ONCE = "bm_once"
"""A deduplication key: a second message with the same key isn't sent within `ONCE_FOR` seconds."""
ONCE_FOR = "bm_once_for"
"""Seconds for which a deduplication key is remembered; an hour unless set."""

ATTEMPT = "bm_attempt"
"""The number of the attempt that a message is for. The first attempt is 1 and has no label."""
FAILURES = "bm_failures"
"""The errors of earlier attempts, as a JSON list; the last few."""

REQUEST_ID = "bm_request_id"
CORRELATION_ID = "bm_correlation_id"
TENANT = "bm_tenant"
USER = "bm_user"
TRACE = "bm_trace_"
"""The prefix of each field of a trace context, such as ``traceparent``."""
