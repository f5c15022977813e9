"""The labels that travel with a task, by name. Pure.

TaskIQ sends labels as text beside a message's arguments; those that are nobody else's business begin with ``bm_``.
"""

from __future__ import annotations

DELAY = "delay"
"""Seconds before a message may be taken; the name that TaskIQ's brokers have for it."""
QUEUE = "queue_name"
"""The queue that a message goes to in place of its broker's own; TaskIQ's name."""
TIMEOUT = "timeout"
"""Seconds that a task may run; TaskIQ's name."""
SCHEDULE = "schedule_id"
"""The schedule that sent the message; TaskIQ's name."""

ONCE = "bm_once"
"""What makes a message the only one of its kind: a second one with the same text is not sent, for `ONCE_FOR` seconds."""
ONCE_FOR = "bm_once_for"
"""Seconds; an hour where it isn't there."""

ATTEMPT = "bm_attempt"
"""Which attempt a message is; the first is 1, and says nothing."""
FAILURES = "bm_failures"
"""How earlier attempts ended, as a JSON list; the last few."""

REQUEST_ID = "bm_request_id"
CORRELATION_ID = "bm_correlation_id"
TENANT = "bm_tenant"
USER = "bm_user"
TRACE = "bm_trace_"
"""Stands before each field of a trace context, such as ``traceparent``."""
