"""Login sessions in Redis, shared by all processes."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from bandmaster.contrib.oidc.extras import naming_extra
from bandmaster.contrib.oidc.sessions.cipher import Cipher
from bandmaster.contrib.oidc.sessions.records import Records, hash_index
from bandmaster.contrib.oidc.sessions.shared_locks import SharedLocks
from bandmaster.contrib.oidc.sessions.store import Session, check_logout, hash_id
from bandmaster.contrib.oidc.store_errors import store_errors

with naming_extra("redis"):
    from redis.asyncio import Redis

    from bandmaster.contrib.oidc.sessions.redis_leases import RedisLeases
    from bandmaster.contrib.redis import redis_errors

PREFIX = "{bandmaster:sessions}:"
"""The default prefix of all keys. The hash tag puts them into one slot of a cluster, as the scripts need."""

# `<prefix>session:<hashed id>` is a hash: the encrypted record as `data`, and the keys of the session's indexes as
# `subject` and `sid`. An index is a sorted set of hashed ids, by the time at which the session expires. Records and
# indexes expire by themselves, at the server's clock.
_COMMON = """
local function forget(key, member)
  for _, index in ipairs(redis.call('HMGET', key, 'subject', 'sid')) do
    if index then redis.call('ZREM', index, member) end
  end
  return redis.call('DEL', key)
end
local function add(index, member, expires, now)
  redis.call('ZREMRANGEBYSCORE', index, '-inf', now)
  redis.call('ZADD', index, expires, member)
  redis.call('PEXPIREAT', index, redis.call('ZREVRANGE', index, 0, 0, 'WITHSCORES')[2])
end
local function store(key, member, data, expires, now, subject, sid)
  redis.call('HSET', key, 'data', data, 'subject', subject)
  add(subject, member, expires, now)
  if sid ~= '' then
    redis.call('HSET', key, 'sid', sid)
    add(sid, member, expires, now)
  end
  redis.call('PEXPIREAT', key, expires)
end
"""
_PUT = f"""{_COMMON}
forget(KEYS[1], ARGV[1])
store(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6])
"""
# A new id that is stored already means that this is the second try of a command whose answer was lost.
_REPLACE = f"""{_COMMON}
local again = KEYS[1] ~= KEYS[2] and redis.call('EXISTS', KEYS[2]) == 1
if forget(KEYS[1], ARGV[1]) == 0 and not again then return 0 end
store(KEYS[2], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7])
return 1
"""
_DELETE = f"""{_COMMON}
return forget(KEYS[1], ARGV[1])
"""
_DELETE_BY = f"""{_COMMON}
local ended = 0
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local key = ARGV[1] .. member
  if ARGV[2] == '' or redis.call('HGET', key, 'subject') == ARGV[2] then
    ended = ended + forget(key, member)
  end
end
return ended
"""


class RedisSessionStore:
    """A `SessionStore` in Redis. The client is one of `bandmaster.contrib.redis`.

    Sessions are encrypted, and stored under hashes of their ids. ``prefix`` needs a hash tag in a cluster.
    """

    is_server_side = True

    def __init__(
        self,
        client: Redis,
        cipher: Cipher,
        *,
        prefix: str = PREFIX,
        lease: float = 15,
        lock_wait: float = 60,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._records = Records(cipher, clock)
        self._prefix = prefix
        self._clock = clock
        self._locks = SharedLocks(RedisLeases(client, f"{prefix}lock:"), lease=lease, wait=lock_wait)
        self._put = client.register_script(_PUT)
        self._replace = client.register_script(_REPLACE)
        self._delete = client.register_script(_DELETE)
        self._delete_by = client.register_script(_DELETE_BY)

    async def get(self, handle: str) -> Session | None:
        """See `SessionStore.get`."""
        member = hash_id(handle)
        with _errors():
            record = await self._client.hget(self._key(member), "data")
        return None if record is None else self._records.read(_to_text(record), member)

    async def put(self, session: Session) -> str:
        """See `SessionStore.put`."""
        member = hash_id(session.id)
        with _errors():
            await self._put(keys=[self._key(member)], args=[member, *self._values(session, member)])
        return session.id

    async def replace(self, handle: str, session: Session) -> str | None:
        """See `SessionStore.replace`."""
        old, new = hash_id(handle), hash_id(session.id)
        with _errors():
            replaced = await self._replace(
                keys=[self._key(old), self._key(new)], args=[old, new, *self._values(session, new)]
            )
        return session.id if replaced else None

    async def delete(self, handle: str) -> bool:
        """See `SessionStore.delete`."""
        member = hash_id(handle)
        with _errors():
            return bool(await self._delete(keys=[self._key(member)], args=[member]))

    async def delete_by(self, issuer: str, *, sid: str | None = None, subject: str | None = None) -> int:
        """See `SessionStore.delete_by`."""
        check_logout(sid, subject)
        of_subject = "" if subject is None else self._index("subject", issuer, subject)
        first = of_subject if sid is None else self._index("sid", issuer, sid)
        with _errors():
            return int(await self._delete_by(keys=[first], args=[self._key(""), of_subject]))

    @asynccontextmanager
    async def lock(self, session_id: str) -> AsyncGenerator[None, None]:
        """See `SessionStore.lock`."""
        async with self._locks.hold(hash_id(session_id)):
            yield

    def _key(self, member: str) -> str:
        return f"{self._prefix}session:{member}"

    def _index(self, kind: str, issuer: str, value: str) -> str:
        return f"{self._prefix}{kind}:{hash_index(issuer, value)}"

    def _values(self, session: Session, member: str) -> list[Any]:
        return [
            self._records.write(session, member),
            int(session.expires_at * 1000),
            int(self._clock() * 1000),
            self._index("subject", session.issuer, session.subject),
            "" if session.sid is None else self._index("sid", session.issuer, session.sid),
        ]


def _to_text(record: str | bytes) -> str:
    return record if isinstance(record, str) else record.decode(errors="replace")


@contextmanager
def _errors() -> Iterator[None]:
    with store_errors("the Redis of sessions"), redis_errors():
        yield
