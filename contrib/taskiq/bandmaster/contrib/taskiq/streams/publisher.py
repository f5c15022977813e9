"""How a message is sent: at once, later, or only if none like it was."""

from __future__ import annotations

import math
from uuid import uuid4

from redis.asyncio import Redis
from taskiq import BrokerMessage

from bandmaster.contrib.taskiq.message_labels import DELAY, ONCE, ONCE_FOR, QUEUE
from bandmaster.contrib.taskiq.streams.keys import Keys
from bandmaster.contrib.taskiq.streams.message_scripts import SEND
from bandmaster.contrib.taskiq.streams.options import LeasedStreamOptions
from bandmaster.contrib.taskiq.streams.script_runner import Link

_ONCE_SECONDS = 3600.0
_RESENDING_SECONDS = 60.0
"""For longer than a client tries the same command again."""


async def send(client: Redis, options: LeasedStreamOptions, message: BrokerMessage) -> None:
    """Send a message as its labels say.

    Raises:
        TransientError: another try may help.
        PermanentError: the server refuses.
        ValueError: a label can't be.
    """
    labels = message.labels
    queue = labels.get(QUEUE)
    keys = Keys.of(options.prefix, str(queue)) if queue else options.keys
    delay = max(0.0, _seconds(labels, DELAY, 0.0))
    once = labels.get(ONCE)
    once_for = _seconds(labels, ONCE_FOR, _ONCE_SECONDS)
    if once is not None and once_for < 0.001:
        raise ValueError(f"label {ONCE_FOR}: must be more than 0 seconds, not {once_for:g}")
    unique = uuid4().hex
    if once is None:
        # The client sends again what it got no answer to; that the first was carried out is seen by this.
        once, once_for = unique, _RESENDING_SECONDS
    await Link(client, keys, options.group, "").run(
        SEND,
        round(delay * 1000),
        message.message,
        message.task_name,
        message.task_id,
        unique,
        round(once_for * 1000),
        also=(keys.once(str(once)),),
    )


def _seconds(labels: dict[str, object], name: str, default: float) -> float:
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
