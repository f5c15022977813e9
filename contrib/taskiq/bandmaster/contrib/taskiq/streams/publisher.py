"""Sends messages to a queue: at once, delayed, or only if no equal message was sent."""

from __future__ import annotations

import math
from uuid import uuid4

from redis.asyncio import Redis
from taskiq import BrokerMessage

from bandmaster.contrib.taskiq.message_labels import DELAY, ONCE, ONCE_FOR, QUEUE
from bandmaster.contrib.taskiq.streams.keys import Keys
from bandmaster.contrib.taskiq.streams.message_scripts import SEND
from bandmaster.contrib.taskiq.streams.options import LeasedStreamOptions
from bandmaster.contrib.taskiq.streams.script_runner import ScriptRunner

_ONCE_SECONDS = 3600.0
_RESENDING_SECONDS = 60.0
"""Longer than a client retries one command."""


async def send(client: Redis, options: LeasedStreamOptions, message: BrokerMessage) -> None:
    """Send a message as its labels ask.

    Raises:
        TransientError: another try may succeed.
        PermanentError: the server refuses.
        ValueError: a label is invalid.
    """
    labels = message.labels
    queue = labels.get(QUEUE)
    keys = Keys.of(options.prefix, str(queue)) if queue else options.keys
    delay = max(0.0, _read_seconds(labels, DELAY, 0.0))
    once = labels.get(ONCE)
    once_for = _read_seconds(labels, ONCE_FOR, _ONCE_SECONDS)
    if once is not None and once_for < 0.001:
        raise ValueError(f"label {ONCE_FOR}: must be more than 0 seconds, not {once_for:g}")
    unique = uuid4().hex
    if once is None:
        # The client retries a command whose answer was lost. By this key the server sees that it has run already.
        once, once_for = unique, _RESENDING_SECONDS
    await ScriptRunner(client, keys, options.group, "").run(
        SEND,
        round(delay * 1000),
        message.message,
        message.task_name,
        message.task_id,
        unique,
        round(once_for * 1000),
        more_keys=(keys.make_once_key(str(once)),),
    )


def _read_seconds(labels: dict[str, object], name: str, default: float) -> float:
    text = labels.get(name)
    if text is None:
        return default
    try:
        seconds = float(str(text))
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ValueError(f"label {name}: must be a number of seconds, not {text!r}")
    return seconds
