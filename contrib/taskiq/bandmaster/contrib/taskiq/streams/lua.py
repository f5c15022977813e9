"""A Lua script with the definitions that all scripts of a queue share. Pure.

Every script gets the keys of a queue in the order of `Keys`, and as first arguments the consumer group and the
running consumer. Times are the server's, in milliseconds.

A script isn't rolled back when a command in it fails. At ``maxmemory`` the server refuses a command that needs memory
only while the script has written nothing. So such a command stands first where the script must be refused, and behind
another write where it must succeed.
"""

from __future__ import annotations

import hashlib

RELEASED = "released"
"""The consumer that owns released messages until a worker claims them."""
WINDOW = 500
"""The most messages that one script handles, so that the server isn't blocked for long."""

_COMMON = f"""
local STREAM, DELAYED, DEAD, HISTORY = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local GROUP, ME = ARGV[1], ARGV[2]
local RELEASED, WINDOW = '{RELEASED}', {WINDOW}
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function ms(number) return string.format('%.0f', number) end
"""


class Script:
    """The text of a script, and the hash by which the server finds the script."""

    __slots__ = ("sha", "text")

    def __init__(self, *parts: str) -> None:
        self.text = "\n".join((_COMMON, *parts))
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
