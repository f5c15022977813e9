"""A broker on a Redis stream that leases messages to workers, with its dead letters."""

from __future__ import annotations

from bandmaster.contrib.taskiq.streams.broker import LeasedStreamBroker
from bandmaster.contrib.taskiq.streams.dead_letters import StreamDeadLetters
from bandmaster.contrib.taskiq.streams.options import LeasedStreamOptions, options_of

__all__ = ["LeasedStreamBroker", "LeasedStreamOptions", "StreamDeadLetters", "options_of"]
