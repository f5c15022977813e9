"""The Lua scripts of the token store in Redis.

Each script gets the keys of one user: the index, a sorted set of ``jti`` by the time at which the token expires, and
the epochs, a hash of issuer (empty: all) to the time until which tokens are revoked. The first argument is the
beginning of the keys of tokens. A token is a hash: the record as ``data``, ``revoked`` as 0 or 1, and the issuer. A
token that was revoked without being stored has no ``data``. Expiry times are in milliseconds, issue times in
microseconds: integers that Lua's numbers hold exactly.
"""

from __future__ import annotations

_COMMON = """
local INDEX, EPOCHS, TOKENS = KEYS[1], KEYS[2], ARGV[1]
local function is_before(issued, issuer)
  for _, until_time in ipairs(redis.call('HMGET', EPOCHS, issuer, '')) do
    if until_time and (issued == '' or tonumber(issued) <= tonumber(until_time)) then return true end
  end
  return false
end
local function keep_until(key, ends)
  local time = redis.call('TIME')
  local left = tonumber(ends) - time[1] * 1000 - math.floor(time[2] / 1000)
  if redis.call('PTTL', key) < left then redis.call('PEXPIREAT', key, ends) end
end
"""

STORE = f"""{_COMMON}
local jti, data, expires, now, created, issuer, revoked = unpack(ARGV, 2)
local key = TOKENS .. jti
if redis.call('HGET', key, 'revoked') == '1' or is_before(created, issuer) then revoked = '1' end
redis.call('HSET', key, 'data', data, 'issuer', issuer, 'revoked', revoked)
if revoked == '1' then keep_until(key, expires) else redis.call('PEXPIREAT', key, expires) end
redis.call('ZREMRANGEBYSCORE', INDEX, '-inf', now)
redis.call('ZADD', INDEX, expires, jti)
redis.call('PEXPIREAT', INDEX, redis.call('ZREVRANGE', INDEX, 0, 0, 'WITHSCORES')[2])
"""
GET = f"""{_COMMON}
local found = redis.call('HMGET', TOKENS .. ARGV[2], 'data', 'revoked')
if not found[1] then return false end
return found
"""
LIST = f"""{_COMMON}
local tokens = {{}}
for _, jti in ipairs(redis.call('ZRANGEBYSCORE', INDEX, '(' .. ARGV[2], '+inf')) do
  local found = redis.call('HMGET', TOKENS .. jti, 'data', 'revoked')
  if found[1] then tokens[#tokens + 1] = found end
end
return tokens
"""
REVOKE = f"""{_COMMON}
local key, ends = TOKENS .. ARGV[2], ARGV[3]
local revoked = redis.call('HGET', key, 'revoked')
if revoked == '1' then return 0 end
redis.call('HSET', key, 'revoked', '1')
if not revoked then redis.call('PEXPIREAT', key, ends) end
return 1
"""
REVOKE_ALL = f"""{_COMMON}
local issuer, now, until_time, ends = unpack(ARGV, 2)
local before = redis.call('HGET', EPOCHS, issuer)
if not before or tonumber(before) < tonumber(until_time) then redis.call('HSET', EPOCHS, issuer, until_time) end
keep_until(EPOCHS, ends)
local last = redis.call('ZREVRANGE', INDEX, 0, 0, 'WITHSCORES')[2]
if last then keep_until(EPOCHS, last) end
local count = 0
for _, jti in ipairs(redis.call('ZRANGEBYSCORE', INDEX, '(' .. now, '+inf')) do
  local key = TOKENS .. jti
  local found = redis.call('HMGET', key, 'revoked', 'issuer')
  if found[1] == '0' and (issuer == '' or found[2] == issuer) then
    redis.call('HSET', key, 'revoked', '1')
    count = count + 1
  end
end
return count
"""
IS_REVOKED = f"""{_COMMON}
local jti, issued, issuer = ARGV[2], ARGV[3], ARGV[4]
if jti ~= '' and redis.call('HGET', TOKENS .. jti, 'revoked') == '1' then return 1 end
if is_before(issued, issuer) then return 1 end
return 0
"""
