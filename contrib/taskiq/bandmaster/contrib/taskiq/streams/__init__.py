"""A broker on a Redis stream whose messages are leased, and their dead letters."""

from __future__ import annotations

from bandmaster.contrib.taskiq.streams.broker import Depth, LeasedStreamBroker, PoisonError
from bandmaster.contrib.taskiq.streams.dead_letters import StreamDeadLetters
from bandmaster.contrib.taskiq.streams.options import LeasedStreamOptions, options_of

__all__ = ["Depth", "LeasedStreamBroker", "LeasedStreamOptions", "PoisonError", "StreamDeadLetters", "options_of"]
